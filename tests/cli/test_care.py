"""The commands about customers' questions, and what is sold (R-PACK-1, R-PACK-7)."""

from tests.cli.conftest import Shell


def test_questions_of_customers_are_answered(shell: Shell) -> None:  # R-PACK-7
    shell.done("org", "open", "acme", "--plan", "starter", "--catalog", "analysis")
    text = shell.done("faq", "acme", "--catalog", "analysis")
    assert "What are additional" in text
    assert "2 packs in 24 hours" in text
    assert shell("faq", "nobody", "--catalog", "analysis").code == 3


def test_the_packs_show_what_is_saved(shell: Shell) -> None:  # R-PACK-1
    text = shell.done("catalog", "show", "--catalog", "goals")
    assert "$121.00 (60.5 %)" in text
