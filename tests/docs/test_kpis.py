"""R-FIN-4: what the figures about packs need is recorded under the names that the page gives."""

import re
from pathlib import Path

from tokentill.rules import entries
from tokentill.rules.feedback import Feedback
from tokentill.rules.purchases import Purchase

ROWS = {"purchase": Purchase, "feedback": Feedback}
PAGE = (Path(__file__).parents[2] / "docs/reference/kpis.md").read_text()


def test_every_field_that_a_figure_needs_is_recorded() -> None:
    named = re.findall(r"`(\w+)\.(\w+)`", PAGE)
    assert len(named) > 25
    for owner, field in named:
        if (owner, field) in {("purchase", "field"), ("feedback", "field"), ("Entry", "field")}:
            continue  # how the page writes them
        kind = ROWS[owner] if owner in ROWS else getattr(entries, owner)
        assert field in kind.__struct_fields__, f"{owner}.{field}"


def test_every_figure_of_s1_is_there() -> None:
    # R-FIN-4: S1 §6 "Track These KPIs"
    figures = re.findall(
        r"^\| ([A-Z][^|]+) \| [^|]+ \| [^|]+ \| [^|]+ \| (yes|not yet) \|$", PAGE, flags=re.MULTILINE
    )
    assert [name for name, _ in figures] == [
        "Purchase rate",
        "Average pack",
        "Revenue from packs",
        "Churn for want of tokens",
        "Satisfaction",
        "Tickets about limits",
    ]
