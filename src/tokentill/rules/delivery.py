"""Delivery: the message that comes with what was bought, and the guide to the first call (R-SALE-4).

Texts come from the catalog; a line is left out where there is nothing true to say in it. The key is shown in the
message only where it is handed out with it; otherwise the message names the key that works already.

Requirement ids: R-SALE-4, R-SALE-1, R-REF-4.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from tokentill.rules.catalog import Catalog, Unit
from tokentill.rules.letters import Letter

YOURS = "YOUR_API_KEY"
"""What stands in examples for a key that is not shown."""
EXAMPLE_TOKENS = 200
"""How long the answer of an example may be, in the API that must be told."""
Api = Literal["openai", "anthropic"]


class Delivered(Struct, frozen=True, kw_only=True):
    """What was delivered. `key`: the whole key, only where it is handed out; `key_shown`: how to recognise one.

    `endpoint`: the base URL to give to a client, ending in `/v1`. `dashboard`: a link to the usage page. `refunds`: a
    link to where a refund is asked for. `valid_until` epoch ms, None = for ever. `refund_line` is empty unless the
    guarantee is open to this customer, so that it is true. `model`: the one to begin with, empty where none is sold;
    `api`: whose API it answers in.
    """

    purchase: str
    title: str
    tokens: int
    endpoint: str
    dashboard: str
    refunds: str
    model: str
    api: Api = "openai"
    key: str | None = None
    key_shown: str | None = None
    valid_until: int | None = None
    uses: tuple[str, ...] = ()
    tip: str = ""
    refund_line: str = ""


def headline(delivered: Delivered, unit: Unit) -> str:
    """What was delivered, in a sentence."""
    if not delivered.tokens:
        return f"{delivered.title}: ready to use."
    word = unit.one if delivered.tokens == 1 else unit.many
    return f"{delivered.title}: {delivered.tokens:,} {word} delivered."


def key_line(delivered: Delivered) -> str:
    """The key, or which one to use."""
    if delivered.key is not None:
        return delivered.key
    return f"the one you have, ending in {delivered.key_shown}" if delivered.key_shown else "ask for one"


def refund_policy(delivered: Delivered) -> str:
    """The refund line and where it leads; empty where it would not be true."""
    return f"{delivered.refund_line}: {delivered.refunds}" if delivered.refund_line else ""


def message(delivered: Delivered, unit: Unit) -> str:
    """The delivery message as plain text."""
    lines = [f"Your {unit.many} are here.", "", headline(delivered, unit), f"API key: {key_line(delivered)}"]
    if delivered.key is not None:
        lines.append("Keep it now: it is shown here this once.")
    lines += [f"Endpoint: {delivered.endpoint}", "", f"Usage dashboard: {delivered.dashboard}"]
    if delivered.valid_until is not None:
        lines.append(f"Valid until: {day(delivered.valid_until)}")
    if delivered.uses:
        lines += ["", "Ready to use for:", *(f"- {use}" for use in delivered.uses)]
    closing = []
    if delivered.tip:
        closing.append(f"Tip: {delivered.tip}")
    if delivered.refund_line:
        closing.append(f"Refund policy: {refund_policy(delivered)}")
    return "\n".join([*lines, "", *closing]).rstrip() + "\n"


def letter(delivered: Delivered, unit: Unit) -> Letter:
    """The delivery message as an e-mail, with the guide below it."""
    rows = [("API key", key_line(delivered)), ("Endpoint", delivered.endpoint)]
    if delivered.valid_until is not None:
        rows.append(("Valid until", day(delivered.valid_until)))
    if delivered.uses:
        rows.append(("Ready to use for", ", ".join(delivered.uses)))
    if delivered.tip:
        rows.append(("Tip", delivered.tip))
    if delivered.refund_line:
        rows.append(("Refund policy", refund_policy(delivered)))
    sentences = [headline(delivered, unit)]
    if delivered.key is not None:
        sentences.append("Keep the key now: it is sent this once. Whoever has it can spend your tokens.")
    return Letter(
        f"Your {unit.many} are here",
        tuple(sentences),
        tuple(rows),
        ("Usage dashboard", delivered.dashboard),
        code=examples(replace(delivered, key=None)),
    )


def day(at: int) -> str:
    """The day of a moment in UTC, as 2026-01-31."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d")


def first_model(catalog: Catalog, wanted: str, features: Collection[str]) -> tuple[str, Api]:
    """The model of a first call, and whose API it answers in; empty where nothing is sold that writes.

    `wanted`: the one that what was bought is for. Without it the first one of these `features` that writes anything.
    """
    found = [one for one in catalog.models.values() if one.feature in features and one.output_tokens_max > 1]
    model = catalog.models.get(wanted) or next(iter(found), None)
    if model is None:
        return "", "openai"
    kinds = {catalog.upstreams[target.upstream].kind for target in model.targets}
    return model.id, "anthropic" if kinds == {"anthropic"} else "openai"


def examples(delivered: Delivered) -> tuple[tuple[str, str], ...]:
    """Two ways to make the first call, each with what it needs; both work as they stand, with the key put in."""
    endpoint, model, key = delivered.endpoint, delivered.model, delivered.key or YOURS
    if not model:
        return ()
    if delivered.api == "anthropic":
        return _of_anthropic(endpoint, model, key)
    curl = f"""\
curl {endpoint}/chat/completions \\
  -H "Authorization: Bearer {key}" \\
  -H "Content-Type: application/json" \\
  -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
"""
    python = f"""\
from openai import OpenAI

client = OpenAI(base_url="{endpoint}", api_key="{key}")
answer = client.chat.completions.create(
    model="{model}", messages=[{{"role": "user", "content": "Hello"}}]
)
print(answer.choices[0].message.content)
"""
    return (("With curl", curl), ("With Python (pip install openai)", python))


def _of_anthropic(endpoint: str, model: str, key: str) -> tuple[tuple[str, str], ...]:
    """The examples for a model that Anthropic's clients call and OpenAI's cannot."""
    curl = f"""\
curl {endpoint}/messages \\
  -H "x-api-key: {key}" \\
  -H "Content-Type: application/json" \\
  -d '{{"model": "{model}", "max_tokens": {EXAMPLE_TOKENS}, "messages": [{{"role": "user", "content": "Hello"}}]}}'
"""
    python = f"""\
from anthropic import Anthropic

client = Anthropic(base_url="{endpoint.removesuffix("/v1")}", api_key="{key}")
answer = client.messages.create(
    model="{model}", max_tokens={EXAMPLE_TOKENS}, messages=[{{"role": "user", "content": "Hello"}}]
)
print(answer.content[0].text)
"""
    return (("With curl", curl), ("With Python (pip install anthropic)", python))


def guide(delivered: Delivered) -> str:
    """The examples as plain text."""
    return "\n".join(f"{label}:\n\n{code}" for label, code in examples(delivered))
