"""What a well-formed catalog may still get wrong about models: the dubious.

As in `tokentill.rules.catalog_checks`, which judges everything else.

Requirement ids: R-SALE-5.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from tokentill.rules.catalog import Catalog
from tokentill.rules.catalog_checks import Says, Source
from tokentill.rules.catalog_reader import Findings

_NEAR = ("localhost", ".localhost", ".local", ".internal", ".lan", ".home.arpa")
"""Names, or ends of names, of hosts that no public network has. A name without a point is one of these too."""


def dubious(catalog: Catalog, data: dict[str, Any], findings: Findings) -> None:
    """Record the warnings, each check in turn."""
    source = Source(catalog, data)
    for check in (_upstreams, _models):
        for code, path, wrong, allowed in check(source):
            findings.add(path, wrong, allowed, code)


def _upstreams(source: Source) -> Iterator[Says]:
    """Keys and prompts in plain text over a public network, and upstreams that nothing uses."""
    used = {target.upstream for model in source.catalog.models.values() for target in model.targets}
    for name, upstream in source.catalog.upstreams.items():
        if upstream.base_url.startswith("http:") and not _near(upstream.base_url):
            wrong = "prompts, answers and the key travel in plain text"
            yield "upstream-plain", f"upstreams.{name}.base_url", wrong, "write https"
        if name not in used:
            yield (
                "upstream-unused",
                f"upstreams.{name}",
                "no model uses it",
                "name it in a model, or remove it",
            )


def _near(base_url: str) -> bool:
    """Whether an address is in a network of our own."""
    host = base_url.split("/")[2].rpartition("@")[2]
    host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host or host.lower().endswith(_NEAR)


def _models(source: Source) -> Iterator[Says]:
    """Models that write more than they can hold, and packs for a model that is not sold."""
    catalog = source.catalog
    for model in catalog.models.values():
        if model.output_tokens_max > model.context_tokens:
            wrong = f"{model.output_tokens_max} is more than the model reads and writes in all"
            path = f"models.{model.id}.output_tokens_max"
            yield "no-effect", path, wrong, f"write {model.context_tokens} or less"
    for pack in catalog.packs.values():
        if pack.model and catalog.models and pack.model not in catalog.models:
            wrong = f"{pack.model} is not one of the models"
            yield "pack-model-unknown", f"packs.{pack.id}.model", wrong, "name a model that is sold"
