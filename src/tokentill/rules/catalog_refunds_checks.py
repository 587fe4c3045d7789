"""What a well-formed catalog may still get wrong about refunds: settings without effect, or against each other.

As in `tokentill.rules.catalog_checks`, which judges everything else.

Requirement ids: R-REF-2, R-REF-4, R-REF-6.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from tokentill.rules.catalog import Catalog
from tokentill.rules.catalog_checks import Says
from tokentill.rules.catalog_reader import Findings
from tokentill.rules.refund_policy import DAY_S, RefundPolicy


def dubious(catalog: Catalog, findings: Findings) -> None:
    """Record the warnings."""
    for code, path, wrong, allowed in _says(catalog.refunds):
        findings.add(path, wrong, allowed, code)


def _says(policy: RefundPolicy) -> Iterator[Says]:
    if not policy.enabled:
        return
    both = policy.four_eyes_above is not None and policy.automatic_max is not None
    if both and (policy.four_eyes_above or 0) < (policy.automatic_max or 0):
        wrong = "two people must agree to refunds that one below the automatic limit would not even see"
        yield "refunds-limits", "refunds.four_eyes_above", wrong, "write more than automatic_max"
    if policy.waiver_required and not policy.withdrawal:
        wrong = "a waiver is required of a right of withdrawal that no region has"
        yield (
            "refunds-waiver",
            "refunds.waiver_required",
            wrong,
            "name the regions in withdrawal, or leave it out",
        )
    if policy.guarantee_percent is not None and policy.guarantee_s > policy.window_days * DAY_S:
        wrong = "the guarantee lasts longer than refunds can be asked for"
        yield "refunds-window", "refunds.guarantee_hours", wrong, "shorten it, or raise window_days"
    for low, high in pairwise(policy.tiers[::-1]):
        if high.percent < low.percent:
            wrong = f"who has spent more gets {high.percent} % where others get {low.percent} %"
            yield "refunds-tiers", "refunds.tiers", wrong, "let the percentage rise with what was spent"
