"""Receipts of plans, renewals, upgrades and bills of overage, with the balance after them (R-PACK-7)."""

import json
from collections.abc import Sequence

from tests.support.desk import preset
from tests.support.scripted import MONTH
from tests.support.shops import World
from tests.support.stores import ok
from tests.support.telling import Telling, plain
from tokentill.flows.checkout import Ask
from tokentill.rules import commands as c
from tokentill.rules.account import Account
from tokentill.rules.letters import letter
from tokentill.rules.notices import receipt_of
from tokentill.rules.purchases import Purchase, derive
from tokentill.rules.rows import Message

PRO = 14_900


async def begin(telling: Telling) -> str:
    """`bert`, on the free plan, wants mail and subscribes to pro; the subscription's name at the provider."""
    world = telling.world
    await world.begin("bert", plan="starter")
    await telling.write_to("bert@bert.test", ("period.started", "plan.changed"), "bert")
    await telling.call("bert", ("purchase.delivered",))
    ordered = await world.shop.subscribing.start(Ask(organization="bert"), "pro")
    assert isinstance(ordered, Purchase), ordered
    for fact in world.provider.pay(ordered.checkout or ""):
        await world.tell(fact)
    await world.follow()
    return list(world.provider.all("subscription"))[-1]


async def use(world: World, goals: int) -> None:
    await ok(world.ledger, "bert", c.Charge(feature="generate_goal", quantity=goals))


def rows_of(telling: Telling) -> Sequence[str]:
    """The table of the newest letter, a line each."""
    return [line for line in plain(telling.office.letters[-1]).splitlines() if ": " in line]


def told(telling: Telling) -> dict[str, object]:
    """The newest webhook's figures that are the same in every run."""
    found = json.loads(telling.hook.got[-1][1])
    data = {name: found["data"][name] for name in ("kind", "item", "amount", "currency")}
    return {"balance": found["balance"], **data}


async def test_a_plan_and_its_renewal(telling: Telling) -> None:  # R-PACK-7
    world = telling.world
    subscription = await begin(telling)
    assert telling.office.subjects == ["Receipt: Pro"]
    assert "Paid: $149.00" in rows_of(telling)
    assert "Balance: 200 tokens" in rows_of(telling)
    assert any(line.startswith("Period: ") for line in rows_of(telling))
    assert told(telling) == {
        "balance": 200, "kind": "plan", "item": "pro", "amount": PRO, "currency": "USD"
    }  # fmt: skip
    await use(world, 10)
    await world.later(MONTH)
    invoice = world.provider.bill(subscription, "cycle")
    for _ in range(3):  # told again it is no second receipt
        await world.tell(world.provider.fact_of_invoice(invoice))
        await world.follow()
    assert telling.office.subjects == ["Receipt: Pro"] * 2
    assert "Balance: 200 tokens" in rows_of(telling)
    assert told(telling)["kind"] == "renewal"
    assert len(telling.hook.got) == 2


async def test_an_upgrade_names_what_the_unused_share_was_worth(telling: Telling) -> None:  # R-PACK-7
    world = telling.world
    await begin(telling)
    await world.later(MONTH // 2)
    await world.shop.subscribing.start(Ask(organization="bert", key="up"), "enterprise")
    await world.follow()
    assert telling.office.subjects == ["Receipt: Pro", "Receipt: Enterprise"]
    shown = rows_of(telling)
    assert "Unused share of your plan before: -$74.50" in shown
    assert "Paid: $324.50" in shown
    assert "Balance: 2,000 tokens" in shown
    assert not [line for line in shown if line.startswith("Saved")]
    assert told(telling) == {
        "balance": 2000, "kind": "upgrade", "item": "enterprise", "amount": 32_450, "currency": "USD"
    }  # fmt: skip


async def test_a_bill_of_overage_that_was_paid(telling: Telling) -> None:  # R-PACK-7, R-PLAN-6
    world = telling.world
    await telling.write_to()
    await telling.call()
    bill = world.order(
        "acme", kind="overage", item="overage", title="10 tokens beyond the plan", amount=1_500, list_amount=1_500,
        tokens=0,
    )  # fmt: skip
    ordered = await world.place(bill)
    await world.tell(*world.provider.pay(ordered.checkout or ""))
    await world.follow()
    assert telling.office.subjects == ["Receipt: 10 tokens beyond the plan"]
    text = plain(telling.office.letters[0])
    assert "What you used beyond your plan is paid." in text
    assert "Paid: $15.00" in text
    assert "Balance: 200 tokens" in text
    assert told(telling)["kind"] == "overage"
    assert len(await world.rows.find(Message, {}, limit=10)) == 2


async def test_a_bill_that_credit_paid_in_part(telling: Telling) -> None:  # R-PACK-7, R-REF-4
    world = telling.world
    await telling.write_to()
    await ok(world.ledger, "acme", c.Grant(tokens=600, origin="credit", unit="money"))
    bill = world.order(
        "acme", kind="overage", item="overage", title="10 tokens beyond the plan", amount=900, list_amount=1_500,
        credit_used=600, tokens=0,
    )  # fmt: skip
    ordered = await world.place(bill)
    await world.tell(*world.provider.pay(ordered.checkout or ""))
    await world.follow()
    shown = rows_of(telling)
    assert "Paid with credit: $6.00" in shown
    assert "Paid: $9.00" in shown
    assert not [line for line in shown if line.startswith("Saved")]


async def test_what_is_set_aside_is_no_balance(telling: Telling) -> None:  # R-PACK-7, R-LIC-1
    """A bill of overage is paid while the plan is not."""
    world = telling.world
    await telling.write_to()
    bill = world.order("acme", kind="overage", item="overage", title="1 token beyond the plan", tokens=0)
    ordered = await world.place(bill)
    await ok(world.ledger, "acme", c.Freeze())
    await world.tell(*world.provider.pay(ordered.checkout or ""))
    await world.follow()
    receipt = next(one for one in telling.office.letters if str(one["Subject"]).startswith("Receipt"))
    assert "Balance: 0 tokens" in plain(receipt)


def test_a_plan_without_a_limit_shows_no_number() -> None:  # R-PACK-7
    account = Account()
    plan = derive(
        Purchase(
            id="p", organization="acme", created_at=1, kind="plan", item="enterprise", title="Enterprise",
            amount=0, currency="USD",
        )
    )  # fmt: skip
    rows = dict(letter(receipt_of(plan, 1, account.free), preset("analysis"), "", purchase=plan).rows)
    assert rows["Balance"] == "no limit"
