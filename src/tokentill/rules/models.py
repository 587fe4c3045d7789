"""Models: what the endpoint sells, and the upstreams that do the work.

A model is sold as a feature of the catalog: metered by 1,000 input, output and cached tokens, or at a fixed price
for each request. It names one or more upstreams; they are tried in this order, and only until the first byte.

An upstream is an address that speaks OpenAI's or Anthropic's API. Its key stands in an environment variable,
never in the catalog. The echo upstream is built in, needs no network, and is labelled as what it is.

Requirement ids: R-SALE-5, R-PLAN-3.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Speech = Literal["openai", "anthropic", "echo"]


class Upstream(Struct, frozen=True):
    """Where calls go: `base_url` up to and with `/v1`, `key_env` the environment variable of its key (None = none)."""

    name: str
    kind: Speech
    base_url: str = ""
    key_env: str | None = None


class Target(Struct, frozen=True):
    """A model at an upstream, by the name it has there."""

    upstream: str
    model: str


class Model(Struct, frozen=True):
    """A model that is sold. `output_tokens_max`: the most it can write; `context_tokens`: read and written.

    `first_byte_ms`: how long an upstream may take to its first byte; `total_ms`: how long the whole call may last.
    """

    id: str
    title: str
    feature: str
    targets: tuple[Target, ...]
    context_tokens: int = 128_000
    output_tokens_max: int = 4_096
    first_byte_ms: int = 30_000
    total_ms: int = 600_000
