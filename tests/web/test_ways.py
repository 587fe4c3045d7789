"""What is switched off, or not sold to this organization, is offered nowhere from the next answer on (R-PACK-9)."""

from typing import Any

from tests.web.conftest import Till

ORG = "/v1/organizations/acme"
USE = {"feature": "generate_goal", "user": "u1"}


async def spend(till: Till, left: int) -> None:
    """Leave so many tokens."""
    now = await till.done("GET", f"{ORG}/balance")
    change = {"tokens": left - now["remaining"], "reason": "for the test"}
    await till.done("POST", f"{ORG}/adjustments", change)


async def kinds(till: Till) -> list[str]:
    refused = await till.ask("POST", f"{ORG}/charges", USE)
    assert (refused.status, refused.code) == (402, "exhausted")
    return [f"{way['kind']} {way.get('id') or ''}".strip() for way in refused.json["ways_out"]]


async def turn(till: Till, switch: str, *, on: bool) -> None:
    await till.done("PUT", "/v1/switches", {"switch": switch, "on": on, "reason": "test"})


async def test_a_refusal_offers_what_can_be_bought_now(
    each_till: Till,
) -> None:  # R-PLAN-7, R-PACK-9, R-PACK-4
    till = each_till
    await spend(till, 2)
    assert await kinds(till) == ["pack token_pack_500", "pack token_pack_2000", "upgrade enterprise", "wait"]
    await turn(till, "pack:token_pack_500", on=False)
    assert await kinds(till) == ["pack token_pack_2000", "upgrade enterprise", "wait"]
    await turn(till, "packs", on=False)
    assert await kinds(till) == ["upgrade enterprise", "wait"]
    await turn(till, "plans", on=False)
    assert await kinds(till) == ["wait"]
    refused: Any = (await till.ask("POST", f"{ORG}/holds", USE)).json
    assert refused["detail"] == "You've reached your limit."
    assert "purchase_link" not in refused
    checked: Any = await till.done("GET", f"{ORG}/checks?feature=generate_goal&user=u1")
    assert [way["kind"] for way in checked["refusal"]["ways_out"]] == ["wait"]
    assert [one["refusal"]["ways_out"] for one in checked["layers"] if one["layer"] == "balance"] == [
        checked["refusal"]["ways_out"]
    ]
    for switch in ("packs", "plans", "pack:token_pack_500"):
        await turn(till, switch, on=True)
    assert len(await kinds(till)) == 4
    for _ in range(2):  # open checkouts take the slots
        await till.done("POST", f"{ORG}/purchases", {"pack": "token_pack_500"})
    assert await kinds(till) == ["upgrade enterprise", "wait"]


async def test_the_notice_of_a_low_balance_offers_what_can_be_bought_now(each_till: Till) -> None:
    # R-PLAN-8, R-PACK-9
    till = each_till
    await spend(till, 5)
    before = (await till.done("GET", f"{ORG}/balance"))["notice"]
    assert before["recommended"]["id"] == "token_pack_500"
    await turn(till, "pack:token_pack_500", on=False)
    after = (await till.done("GET", ORG))["balance"]["notice"]
    assert after["recommended"]["id"] == "token_pack_2000"
    await turn(till, "packs", on=False)
    assert (await till.done("GET", f"{ORG}/balance"))["notice"][
        "link"
    ] == "/account/buy-credits"  # plans are sold
    await turn(till, "plans", on=False)
    shut = (await till.done("GET", f"{ORG}/balance"))["notice"]
    assert (shut["text"], shut["link"], shut["recommended"]) == ("You're running low on tokens.", None, None)
