"""What customers are told of monthly and additional tokens, true of each catalog (R-PACK-7)."""

from msgspec import structs

from tests.support.desk import change_plan, preset
from tokentill.catalogs import preset_text
from tokentill.rules.catalog import Rollover
from tokentill.rules.catalog_file import load
from tokentill.rules.catalog_shop import Question
from tokentill.rules.explaining import explain

ANALYSIS, GOALS, SHOP = preset("analysis"), preset("goals"), preset("shop")


def test_the_difference_is_explained() -> None:  # R-PACK-7
    found = explain(GOALS, GOALS.plans["pro"])
    assert found.monthly == (
        "Your plan Pro brings 200 tokens in each period. What is left of them when a new period begins is gone."
    )
    assert found.additional == (
        "Additional tokens are those that you bought or were given. They stay when a new period begins. "
        "They do not expire. They are spent after the monthly ones."
    )
    assert [one.question for one in found.faq] == [
        "What are monthly tokens?",
        "What are additional tokens?",
        "Which tokens are used first?",
        "When can I use what I buy?",
        "How many packs can I buy?",
        "What becomes of my tokens if a payment for my plan fails?",
    ]
    assert "2 packs in 24 hours" in found.faq[4].answer


def test_it_is_true_of_the_plan() -> None:  # R-PACK-7, R-PLAN-5
    carried = change_plan(GOALS, "pro", rollover=Rollover("capped", 50))
    assert explain(carried, carried.plans["pro"]).monthly.endswith(
        "goes on into the new period, up to 50 tokens."
    )
    whole = change_plan(GOALS, "pro", rollover=Rollover("unlimited"))
    assert explain(whole, whole.plans["pro"]).monthly.endswith("goes on into the new period.")
    unlimited = explain(ANALYSIS, ANALYSIS.plans["enterprise"])
    assert "has no limit" in unlimited.monthly
    assert unlimited.additional.endswith("They are not used while your plan has no limit.")
    assert "brings none" in explain(GOALS, GOALS.plans["starter"]).monthly


def test_it_is_true_of_the_packs() -> None:  # R-PACK-7
    assert "Each pack says how long its own can be used." in explain(SHOP, None).additional
    assert "You have no plan." in explain(SHOP, None).monthly
    assert not [one for one in explain(SHOP, None).faq if "my plan fails" in one.question]
    # Packs of goals are sold on a paid plan only, so nothing is said of buying without one.
    assert not [one for one in explain(GOALS, GOALS.plans["starter"]).faq if "buy" in one.question]


def test_an_operators_own_words_stand_as_they_are() -> None:  # R-PACK-7
    text = (
        preset_text("goals").replace(
            "[texts]", '[texts]\nmonthly = "Every month anew."\nadditional = "Yours."'
        )
        + '\n[[faq]]\nquestion = "Why?"\nanswer = "Because."\n'
    )
    catalog = load(text, "mine.toml")[0]
    found = explain(catalog, catalog.plans["pro"])
    assert structs.astuple(found) == ("Every month anew.", "Yours.", (Question("Why?", "Because."),))
