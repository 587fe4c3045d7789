"""The delivery message of S0, line by line, and only what is true (R-SALE-4)."""

from msgspec.structs import replace

from tests.support.desk import preset
from tokentill.rules.delivery import Delivered, first_model, guide, letter, message

SHOP = preset("shop")
PACK = SHOP.packs["gpt_4_professional"]
KEY = "tt_sk_0123456789abcdef_" + "s" * 43 + "_01234567"
MESSAGE = Delivered(
    purchase="p", title=PACK.title, tokens=50_000, endpoint="https://ai.example/v1", key=KEY, model="gpt-4",
    dashboard="https://ai.example/usage/abc", refunds="https://ai.example/p", valid_until=1_736_899_200_000,
    uses=PACK.uses, tip=PACK.tip, refund_line=PACK.refund_line,
)  # fmt: skip


def test_the_message_says_all_that_the_document_shows() -> None:  # R-SALE-4
    assert message(MESSAGE, SHOP.unit) == (
        "Your tokens are here.\n\nGPT-4 Professional: 50,000 tokens delivered.\n"
        f"API key: {KEY}\nKeep it now: it is shown here this once.\nEndpoint: https://ai.example/v1\n\n"
        "Usage dashboard: https://ai.example/usage/abc\nValid until: 2025-01-15\n\n"
        "Ready to use for:\n- Business analysis\n- Technical documentation\n- Research papers\n\n"
        "Tip: Start with simple prompts and build complexity!\n"
        "Refund policy: 50% refund available within 24 hours: https://ai.example/p\n"
    )


def test_a_line_that_would_not_be_true_is_left_out() -> None:  # R-SALE-4, readings: guarantee
    bare = replace(MESSAGE, key=None, key_shown="wxyz", valid_until=None, refund_line="", uses=(), tip="")
    text = message(bare, SHOP.unit)
    for words in ("Refund policy", "Valid until", "Ready to use", "Tip", "shown here this once", KEY):
        assert words not in text
        assert words not in str(letter(bare, SHOP.unit))
    assert "ending in wxyz" in text
    assert "0 tokens" not in message(replace(bare, tokens=0), SHOP.unit)
    assert "1 token delivered" in message(replace(bare, tokens=1), SHOP.unit)


def test_the_letter_says_the_same_and_how_to_begin() -> None:  # R-SALE-4
    found = letter(MESSAGE, SHOP.unit)
    assert dict(found.rows) == {
        "API key": KEY, "Endpoint": "https://ai.example/v1", "Valid until": "2025-01-15",
        "Ready to use for": "Business analysis, Technical documentation, Research papers", "Tip": PACK.tip,
        "Refund policy": "50% refund available within 24 hours: https://ai.example/p",
    }  # fmt: skip
    assert found.link == ("Usage dashboard", "https://ai.example/usage/abc")
    assert KEY not in str(found.code)
    assert len(found.code) == 2


def test_the_model_of_the_first_call_can_be_called() -> None:  # R-SALE-4
    models = SHOP.models
    small, embed = models["gpt-4o-mini"], models["text-embedding-3-small"]
    assert first_model(SHOP, "gpt-4o-mini", SHOP.features) == ("gpt-4o-mini", "openai")
    assert first_model(SHOP, "", {"gpt-4o-mini", "echo"}) == ("gpt-4o-mini", "openai")
    assert first_model(replace(SHOP, models={"e": embed, "m": small}), "", SHOP.features)[0] == "gpt-4o-mini"
    assert first_model(replace(SHOP, models={"e": embed}), "", SHOP.features) == ("", "openai")
    claude = replace(SHOP.upstreams["openai"], kind="anthropic")
    sold = replace(SHOP, upstreams={**SHOP.upstreams, "openai": claude})
    assert first_model(sold, "gpt-4", ()) == ("gpt-4", "anthropic")
    assert guide(replace(MESSAGE, model="")) == ""
