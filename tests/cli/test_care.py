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


def test_what_customers_say_and_what_is_left(shell: Shell) -> None:  # R-FIN-4, R-FIN-1
    shell.done("org", "open", "acme", "--plan", "pro", "--catalog", "goals")
    assert "Nobody has said anything yet" in shell.done("feedback", "--catalog", "goals")
    shell.done("rate", "acme", "4", "--catalog", "goals")
    shell.done("ticket", "acme", "tokens", "--text", "Where are they?", "--catalog", "goals")
    text = shell.done("feedback", "--catalog", "goals")
    assert "4.00" in text
    assert "1 tokens" in text
    assert shell("ticket", "acme", "weather", "--catalog", "goals").code == 3
    assert shell("rate", "acme", "6", "--catalog", "goals").code == 2
    assert "pro" in shell.done("margin", "--catalog", "goals")
    found = shell.json("margin", "--organization", "acme", "--catalog", "goals")
    assert (found["organizations"], found["remedies"]) == (1, [])
