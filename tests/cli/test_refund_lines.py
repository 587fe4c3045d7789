"""How the command line says that a part of a refund went back, and what can be done about the rest (R-REF-6)."""

from typing import Any

from rich.table import Table

from tests.rules.test_refund_review import asked
from tests.support.desk import preset
from tokentill.cli.refunds import _stands, _table
from tokentill.rules.refund_rows import Opinion, Refund
from tokentill.web import refund_views as views

REFUSED = (Opinion(1, "stripe", "refused", "too_old", 5_000),)


def shown(**more: Any) -> views.RefundView:
    row = Refund(
        id="r", organization="acme", purchase="p", quote=asked(100), item="pack", choice="cash", money=7_900, **more
    )  # fmt: skip
    return views.refund(row, preset("goals"))


def test_a_part_that_went_back_is_said_with_the_ways_out() -> None:
    waits = shown(state="waiting", problem="too_old", opinions=REFUSED)
    assert str(_stands(waits)) == (
        "r: waiting, $79.00 (too_old). $50.00 went back and the rest was refused: approve asks again, "
        "adjust makes it credit, deny leaves it at that."
    )
    table = _table((waits,))
    assert isinstance(table, Table)
    assert list(table.columns[3].cells) == ["waiting, $50.00 is back"]


def test_where_all_of_it_went_back_nothing_is_said_of_parts() -> None:
    done = shown(state="settled", opinions=REFUSED)
    assert str(_stands(done)) == "r: settled, $79.00."
    table = _table((done,))
    assert isinstance(table, Table)
    assert list(table.columns[3].cells) == ["settled"]
