"""The sections of a catalog file that say which models are sold and who answers them.

As in `tokentill.rules.catalog_sections`, mistakes are recorded by the table and never raised. A value that could
be a key somebody put in the wrong place is never repeated in a finding.

Requirement ids: R-SALE-5, R-PLAN-3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast, get_args

from tokentill.rules.catalog import TOKENS_MAX, Feature
from tokentill.rules.catalog_reader import Table, nearest
from tokentill.rules.models import Model, Speech, Target, Upstream

KINDS: tuple[str, ...] = get_args(Speech)
FIRST_BYTE_MS_MAX = 10 * 60_000
TOTAL_MS_MAX = 4 * 3_600_000
TARGET_ALLOWED = 'write the name of an upstream, a colon and the model there, such as "openai:gpt-4o"'
ADDRESS_ALLOWED = "write https://host/v1, without a name, a query or a fragment"

_BASE = re.compile(r"https?://[^\s/@?#]+(/[^\s@?#]*)?")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")


def upstream(name: str, table: Table) -> Upstream:
    """One upstream (R-SALE-5). Its key is named by its environment variable and never written here."""
    kind = table.choice("kind", "openai", KINDS)
    if kind == "echo":
        for key in filter(table.has, ("base_url", "key_env")):
            table.known.add(key)
            table.bad(key, "the echo upstream is built in and calls nobody", "remove it")
        table.end()
        return Upstream(name, "echo")
    base = table.text("base_url")
    if table.has("base_url") and not _BASE.fullmatch(base):
        table.bad("base_url", "not the address of an API", ADDRESS_ALLOWED)
    variable = table.text("key_env") if table.has("key_env") else None
    if variable is not None and not _VARIABLE.fullmatch(variable):
        table.bad(
            "key_env",
            "not the name of an environment variable",
            "write its name, such as OPENAI_API_KEY, and never the key itself",
        )
    table.end()
    return Upstream(name, cast("Any", kind), base.rstrip("/"), variable)


def model(
    id_: str, table: Table, features: Mapping[str, Feature], upstreams: Mapping[str, Upstream]
) -> Model:
    """One model that is sold, and where its calls go."""
    found = Model(
        id=id_,
        title=table.text("title", id_),
        feature=table.choice("feature", "", features) if table.has("feature") else table.id("feature", id_),
        targets=_targets(table, upstreams),
        context_tokens=table.whole("context_tokens", 128_000, 1, TOKENS_MAX),
        output_tokens_max=table.whole("output_tokens_max", 4_096, 1, TOKENS_MAX),
        first_byte_ms=table.duration_ms("first_byte", 30_000) or 30_000,
        total_ms=table.duration_ms("total", 600_000) or 600_000,
    )
    if not table.has("feature") and id_ not in features:
        table.bad("feature", "missing, and no feature has the id of the model", nearest(id_, features))
    if found.first_byte_ms > FIRST_BYTE_MS_MAX:
        table.bad("first_byte_seconds", "no first byte is waited for so long", "write 10 minutes or less")
    if not found.first_byte_ms <= found.total_ms <= TOTAL_MS_MAX:
        table.bad(
            "total_seconds", "no call lasts so long", "write first_byte_seconds or more, and at most 4 hours"
        )
    table.end()
    return found


def _targets(table: Table, upstreams: Mapping[str, Upstream]) -> tuple[Target, ...]:
    """The upstreams in the order in which they are tried."""
    found = []
    for written in table.texts("upstreams"):
        name, colon, there = written.partition(":")
        if not colon or not there:
            table.bad("upstreams", f'"{written}" does not name a model', TARGET_ALLOWED)
        elif name not in upstreams:
            table.bad("upstreams", f'"{name}" is not an upstream', nearest(name, upstreams))
        else:
            found.append(Target(name, there))
    if not table.has("upstreams") or table.data["upstreams"] == []:
        table.bad("upstreams", "nobody would answer this model", TARGET_ALLOWED)
    return tuple(found)
