"""The delivery message of S0, line by line, and only what is true (R-SALE-4)."""

import ast

from tests.support.desk import preset
from tokentill.rules.delivery import Delivered, guide, message

SHOP = preset("shop")
PACK = SHOP.packs["gpt_4_professional"]
KEY = "tt_sk_0123456789abcdef_" + "s" * 43 + "_01234567"


def delivered(**more: object) -> Delivered:
    fields: dict[str, object] = {
        "pack": PACK, "tokens": 50_000, "endpoint": "https://ai.example/v1", "key": KEY, "guaranteed": True,
        "dashboard": "https://ai.example/usage/abc", "valid_until": 1_736_899_200_000,
    }  # fmt: skip
    return Delivered(**{**fields, **more})  # type: ignore[arg-type]  # a table of fields


def test_the_message_says_all_that_the_document_shows() -> None:  # R-SALE-4
    assert message(delivered(), SHOP.unit) == (
        "Your tokens are here.\n\nGPT-4 Professional: 50,000 tokens delivered.\n"
        f"API key: {KEY}\nKeep it now: it is shown this once.\nEndpoint: https://ai.example/v1\n\n"
        "Usage dashboard: https://ai.example/usage/abc\nValid until: 2025-01-15\n\n"
        "Ready to use for:\n- Business analysis\n- Technical documentation\n- Research papers\n\n"
        "Tip: Start with simple prompts and build complexity!\n"
        "Refund policy: 50% refund available within 24 hours\n"
    )


def test_a_line_that_would_not_be_true_is_left_out() -> None:  # R-SALE-4, readings: guarantee
    text = message(delivered(key=None, key_shown="wxyz", valid_until=None, guaranteed=False), SHOP.unit)
    assert "Refund policy" not in text
    assert "Valid until" not in text
    assert "ending in wxyz" in text
    assert KEY not in text


def test_the_guide_is_python_that_parses() -> None:  # R-SALE-4
    text = guide("https://ai.example/v1", "gpt-4")
    ast.parse(text.partition("pip install openai):\n")[2])
    assert "curl https://ai.example/v1/chat/completions" in text
