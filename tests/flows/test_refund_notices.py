"""Customers are told how their refund stands, once, by real e-mail and real webhooks (R-REF-6)."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from tests.flows.test_refunding import PRICE, accepted, bought, quoted
from tests.support.larger import ITEMS, chain
from tests.support.stores import ok
from tests.support.telling import Telling, plain
from tests.support.tripwire import Crash, Wire
from tokentill.ports import VendorRefused
from tokentill.rules import commands as c
from tokentill.rules.letters import letter
from tokentill.rules.notices import Notice
from tokentill.rules.refund_notices import TOLD, notice_of
from tokentill.rules.refund_rows import Opinion, Refund
from tokentill.rules.refund_sentences import RefundTexts
from tokentill.rules.rows import Message

OURS = tuple(TOLD.values())


async def begin(telling: Telling) -> None:
    """Mail and webhooks about refunds; other mail is not wanted."""
    await telling.write_to(quiet=("tokens.taken_back", "balance.low", "balance.exhausted"))
    await telling.call(events=OURS)


def subjects(telling: Telling) -> list[str]:
    return [one for one in telling.office.subjects if not one.startswith("Receipt")]


def newest(telling: Telling) -> str:
    return plain([one for one in telling.office.letters if not str(one["Subject"]).startswith("Receipt")][-1])


def data(telling: Telling) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(telling.hook.got[-1][1])["data"]
    return told


async def test_waiting_then_approved(telling: Telling) -> None:
    world = telling.world
    await begin(telling)
    purchase = await bought(world, amount=20_000, list_amount=20_000)
    row = await accepted(world, await quoted(world, purchase))
    await world.follow()
    assert subjects(telling) == ["Your refund is being looked at"]
    assert world.ledger.catalog.refunds.waiting in newest(telling)
    await world.shop.refund_desk.approve("acme", row.id, "ann", "fair")
    await world.follow()
    assert subjects(telling)[1:] == ["Your refund is on its way"]
    assert "Paid back: $200.00" in newest(telling)
    assert "fair" not in newest(telling), "why an operator agreed is not the customer's business"
    await world.later(86_400_000)
    assert telling.types() == ["refund.waiting", "refund.settled"]
    assert data(telling) | {"refund": 0, "purchase": 0} == {
        "refund": 0, "purchase": 0, "choice": "cash", "money": 20_000, "credit": 0, "tokens": 0, "ends_plan": False,
        "item": None, "currency": "USD", "reason": None, "given": 0, "share": False,
    }  # fmt: skip


async def test_denied_with_the_reason(telling: Telling) -> None:
    world = telling.world
    await begin(telling)
    purchase = await bought(world, amount=20_000, list_amount=20_000)
    row = await accepted(world, await quoted(world, purchase))
    await world.follow()
    await world.shop.refund_desk.deny("acme", row.id, "ann", "The tokens were used up elsewhere.")
    await world.follow()
    assert subjects(telling)[-1] == "Your refund was not granted"
    assert "The reason: The tokens were used up elsewhere." in newest(telling)
    assert telling.types()[-1] == "refund.denied"
    again = await accepted(world, await quoted(world, purchase))
    await world.follow()
    await world.shop.refund_desk.adjust("acme", again.id, 5_000, "ann", "Half a day of it was used.")
    await world.follow()
    assert "Paid back: $50.00" in newest(telling)
    assert "Why this amount: Half a day of it was used." in newest(telling)


@pytest.mark.parametrize(
    ("choice", "subject", "words"),
    [
        ("credit", "Your refund is on its way", "Credit: $17.40"),
        ("bonus", "Your bonus tokens are here", "150 tokens more are in your account."),
    ],
)
async def test_what_was_chosen_instead(telling: Telling, choice: str, subject: str, words: str) -> None:
    world = telling.world
    await begin(telling)
    purchase = await bought(world)
    await accepted(world, await quoted(world, purchase), choice)
    await world.follow()
    assert subjects(telling) == [subject]
    assert words in newest(telling)
    assert (data(telling)["choice"], telling.types()) == (choice, ["refund.settled"])


async def test_a_larger_pack(telling: Telling) -> None:
    world = telling.world
    await begin(telling)
    purchase = await bought(world)
    row = await accepted(world, await quoted(world, purchase), "upgrade", item="token_pack_2000")
    await world.follow()
    assert subjects(telling) == [], "nothing is told before it is paid"
    upgrade = await world.shop.checkout.purchase("acme", row.upgrade or "")
    assert upgrade is not None
    await world.tell(*world.provider.pay(upgrade.checkout or ""))
    await world.settle()
    await world.follow()
    assert subjects(telling) == ["Your larger pack is here"]
    assert "Your purchase is now 2000 tokens." in newest(telling)


async def test_a_larger_pack_of_which_a_part_went_back(telling: Telling) -> None:
    """The difference is back, the provider refuses the first payment: the letters say what is back, and no more."""
    world = telling.world
    await begin(telling)
    small, large = await chain(world, "acme", ITEMS[1:2])
    await world.follow()
    world.provider.refuse[small.id] = "too_old"
    row = await accepted(world, await quoted(world, large))
    await world.follow()
    assert subjects(telling)[-1] == "Your refund is being looked at"
    assert "Paid back: $50.00" in newest(telling)
    assert (data(telling)["given"], data(telling)["money"]) == (5_000, 7_900)
    await world.shop.refund_desk.deny("acme", row.id, "ann", "The card is closed.")
    await world.follow()
    assert subjects(telling)[-1] == "Your refund is on its way"
    assert "Paid back: $50.00" in newest(telling)
    assert "Why this amount: The card is closed." in newest(telling)
    assert world.ledger.catalog.refunds.texts.mail_tokens_went not in newest(telling), "a share of them went"
    assert (data(telling)["share"], data(telling)["money"]) == (True, 5_000)
    assert telling.types()[-2:] == ["refund.waiting", "refund.settled"]


async def test_a_refund_that_the_provider_refuses_and_one_that_never_began(telling: Telling) -> None:
    world = telling.world
    await begin(telling)
    purchase = await bought(world)
    world.provider.fail["refund"] = [VendorRefused("too_old", "No.")]
    await accepted(world, await quoted(world, purchase))
    await world.follow()
    assert subjects(telling) == ["Your refund could not be carried out"]
    await accepted(world, await quoted(world, purchase), "upgrade", item="token_pack_2000")
    assert (await accepted(world, await quoted(world, purchase))).problem == "in_progress"
    await world.follow()
    assert telling.types() == ["refund.failed"], "who was told on the spot is not told again"


async def test_whoever_dies_in_between_leaves_it_to_be_told_once(telling: Telling) -> None:
    world = telling.world
    posting = telling.posting
    at = 0
    while True:
        at += 1
        name = f"acme_{at:03d}"
        await world.begin(name)
        await telling.write_to(
            organization=name, quiet=("tokens.taken_back", "balance.low", "balance.exhausted")
        )
        await ok(world.ledger, name, c.Adjust(tokens=-200, reason="spent", actor="op"))
        purchase = await bought(world, name, method=f"card_{at}")
        row = await quoted(world, purchase)
        wire = Wire(at)
        shop = wire.shop(world, posting=posting)
        died = False
        try:
            await shop.refunding.accept(name, row.id, "cash")
        except Crash:
            died = True
        await world.shop.refunding.accept(name, row.id, "cash")
        for _ in range(3):
            await world.later(61_000)
        where = (at, wire.places[-1] if died else "nowhere")
        found = await world.rows.get(Refund, row.id, name)
        assert found is not None
        assert (found.state, found.told, found.due_at, found.money) == ("settled", "settled", None, PRICE), (
            where
        )
        told = await world.rows.find(Message, {"type": "refund.settled"}, limit=1000)
        assert [one.id for one in told if one.organization == name] == [f"{name}:{row.id}:settled:mail"], (
            where
        )
        if not died:
            break
    assert at > 10


async def test_who_gives_a_plan_back_is_told_that_it_has_ended(telling: Telling) -> None:
    world = telling.world
    await begin(telling)
    row = await accepted(world, await quoted(world, await bought(world)))
    catalog = world.ledger.catalog
    plain_one = letter(notice_of(row, 1, 0), catalog, "")
    ended = letter(notice_of(replace(row, ends_plan=True), 1, 0), catalog, "")
    more = set(ended.sentences) - set(plain_one.sentences)
    assert more == {"Your plan has ended with it, and nothing more is charged for it."}


async def test_letters_about_refunds_speak_the_catalogs_language(telling: Telling) -> None:
    # R-REF-6: every text of theirs is the catalog's, and every figure is in it
    world = telling.world
    names = [name for name in RefundTexts.__struct_fields__ if name.startswith(("mail_", "figure_"))]
    defaults = RefundTexts()
    strange = RefundTexts(**{name: f"«{getattr(defaults, name)}»" for name in names})
    catalog = world.ledger.catalog
    catalog = replace(catalog, refunds=replace(catalog.refunds, texts=strange, waiting="«w»"))
    purchase = await bought(world)
    quoted_row = await quoted(world, purchase)
    agreed = {"opinions": (Opinion(1, "ann", "adjust", "Used.", 500),)}
    outcomes: list[tuple[str, dict[str, Any]]] = [
        ("waiting", {"choice": "cash"}),
        ("waiting", {"choice": "cash", "opinions": (Opinion(1, "stripe", "refused", "too_old", 500),)}),
        ("settled", {"choice": "cash", "money": 500, "credit": 20, "ends_plan": True, **agreed}),
        ("settled", {"choice": "bonus", "tokens": 150}),
        ("settled", {"choice": "upgrade", "larger": "token_pack_2000"}),
        ("denied", {"choice": "cash", **agreed}),
        ("failed", {"choice": "cash"}),
    ]
    for state, more in outcomes:
        note = notice_of(replace(quoted_row, **{"state": state, **more}), 1, 0)
        found = letter(note, catalog, "", purchase=purchase)
        for text in (found.subject, *found.sentences, *(name for name, _ in found.rows)):
            assert text.startswith("«"), text
            assert text.endswith("»"), text
    for origin in ("refund", "dispute"):
        data = {"origin": origin, "tokens": 7}
        about = Notice(id="n", type="tokens.taken_back", organization="acme", at=1, balance=0, data=data)
        taken = letter(about, catalog, "")
        assert (taken.subject[0], taken.sentences[0][0]) == ("«", "«")
        assert "7 tokens" in taken.sentences[0]
