"""What was charged against what upstreams reported, entry by entry (R-SALE-5)."""

from typing import Any

import pytest

from tokentill.catalogs import preset_text
from tokentill.rules import entries as e
from tokentill.rules.catalog_file import load
from tokentill.rules.entry import ModelUse
from tokentill.rules.reconciling import Reconciled, Reconciling

CATALOG = load(preset_text("bench"), "bench.toml")[0]
DAY = 86_400_000
FIGURES = ("cost", "charged", "beyond_hold", "failed", "late", "refunded", "unexplained", "mispriced")


def use(cost: int, **more: Any) -> ModelUse:
    return ModelUse(model="lab", key="k1", upstream="lab", read=cost - 1, written=1, cost=cost, **more)


def stamp(at: int = 0, catalog: str = CATALOG.version) -> dict[str, Any]:
    return {"seq": 1, "time": at, "catalog": catalog}


def line_of(*found: e.Entry) -> Reconciled:
    reconciling = Reconciling(CATALOG, 0, DAY)
    for entry in found:
        reconciling.take("acme", entry)
    return reconciling.report().total


@pytest.mark.parametrize(
    ("entry", "figures"),
    [
        # what was charged is what the usage comes to
        (e.Charged(**stamp(), tokens=9, moves=((1, 9),), use=use(9)), {"cost": 9, "charged": 9}),
        # all of the hold was charged, and it was not enough
        (e.Charged(**stamp(), tokens=6, moves=((1, 6),), use=use(9)), {"cost": 9, "charged": 6, "beyond_hold": 3}),
        # less than the usage comes to although the hold had more: nothing explains that
        (
            e.Charged(**stamp(), tokens=6, moves=((1, 6),), returned=((1, 4),), use=use(9)),
            {"cost": 9, "charged": 6, "unexplained": 3},
        ),
        # more than the usage comes to
        (e.Charged(**stamp(), tokens=12, moves=((1, 12),), use=use(9)), {"cost": 9, "charged": 12, "unexplained": -3}),
        # the upstream worked for nothing
        (e.Released(**stamp(), tokens=20, use=use(9, counted="estimated")), {"cost": 9, "failed": 9}),
        (e.Released(**stamp(), tokens=20, use=ModelUse(model="lab", key="k1", counted="none")), {}),
        (e.Late(**stamp(), lost=9, use=use(9)), {"cost": 9, "late": 9}),
        (e.Refunded(**stamp(), tokens=9, use=use(9)), {"refunded": 9}),
        # another price than the catalog's of today, which is the catalog of the entry
        (
            e.Charged(**stamp(), tokens=9, moves=((1, 9),), use=ModelUse(model="lab", key="k1", read=7, cost=9)),
            {"cost": 9, "charged": 9, "mispriced": 2},
        ),
        # of an earlier catalog nothing can be said
        (
            e.Charged(
                **stamp(catalog="older"), tokens=9, moves=((1, 9),), use=ModelUse(model="lab", key="k1", read=7, cost=9)
            ),
            {"cost": 9, "charged": 9},
        ),
        # no call of a model
        (e.Charged(**stamp(), tokens=9, moves=((1, 9),)), {}),
    ],
)  # fmt: skip
def test_every_difference_has_its_name(entry: e.Entry, figures: dict[str, int]) -> None:
    line = line_of(entry)
    assert {name: getattr(line, name) for name in FIGURES if getattr(line, name)} == figures
    assert line.cost == line.charged + line.beyond_hold + line.failed + line.late + line.unexplained


def test_lines_are_made_of_what_was_asked_and_add_up() -> None:
    found = [
        ("acme", e.Charged(**stamp(0), tokens=5, moves=((1, 5),), use=use(5))),
        ("acme", e.Charged(**stamp(DAY - 1), tokens=7, moves=((1, 7),), use=use(7, counted="delivered"))),
        ("beta", e.Charged(**stamp(DAY), tokens=2, moves=((1, 2),), use=use(2, counted="estimated"))),
        ("beta", e.Charged(**stamp(2 * DAY), tokens=9, moves=((1, 9),), use=use(9))),
    ]
    for by, keys in (
        (("day",), [("1970-01-01",), ("1970-01-02",)]),
        (("organization", "model"), [("acme", "lab"), ("beta", "lab")]),
        (("key", "upstream"), [("lab", "k1")]),
        ((), [()]),
    ):
        reconciling = Reconciling(CATALOG, 0, 2 * DAY, by)  # type: ignore[arg-type]  # a table of ways
        for organization, entry in found:
            reconciling.take(organization, entry)
        report = reconciling.report()
        assert [tuple(getattr(line, way) for way in report.by) for line in report.lines] == keys
        for name in ("calls", "charged", "read", "delivered_calls", "estimated_calls"):
            assert sum(getattr(line, name) for line in report.lines) == getattr(report.total, name)
        total = report.total
        assert (total.calls, total.charged, total.delivered_calls, total.estimated_calls) == (3, 14, 1, 1)
        assert report.fits
