"""What a process of the rig of plans does: tell one story of a customer at Stripe, and perhaps die on the way.

A story is a row of steps. What a step was answered goes to the test at once, so the process that follows a killed one
repeats only what nobody got an answer to: the customer asks again under the same key, Stripe sends again what was not
acknowledged. What was acknowledged and not worked on is left to the clerk.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import secrets
import signal
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from msgspec import Struct

from tests.support import rig_plan_plants
from tests.support.desk import change_plan
from tests.support.rig_processes import Channel
from tests.support.rig_store import SNAPSHOT_BYTES
from tests.support.rig_stripe import Street
from tests.support.shops import QUICK, selling
from tests.support.stores import SECRET, Engine, Store, ok
from tests.support.stripe import DECLINED, T0, VISA
from tests.support.tripwire import Wire
from tokentill.flows.checkout import Ask
from tokentill.flows.means import Means
from tokentill.flows.pay import Terms
from tokentill.flows.shop import Posting, open_shop
from tokentill.lab.stripe import sign
from tokentill.lab.stripe.server import DEFAULT_KEY
from tokentill.ports import Inbound
from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules.catalog import Exhaustion, Overage
from tokentill.rules.credit import available
from tokentill.rules.purchases import Purchase, next_step
from tokentill.rules.receipts import Receipt
from tokentill.rules.rows import Alert, Message, ProviderEvent, Subscription, TopUp
from tokentill.store import faults
from tokentill.store.rows import KINDS, table
from tokentill.vendors.mail import SmtpMail, _template
from tokentill.vendors.outbound import HttpOutbound
from tokentill.vendors.sealing import AesSeal
from tokentill.vendors.stripe import StripePayments
from tokentill.wiring import SystemIds

ORGANIZATION = "acme"
HOOK_SECRET = "whsec_of_the_rig"
DAY = 86_400_000
PACK, THRESHOLD, CEILING = "token_pack_500", 100, 100_000
OVERAGE_PRICE = 150
CREDIT = 5_000

_LATE = (
    "_stripe_client", "_v1_services", "_charge", "_event", "_invoice", "_invoice_item", "_invoice_item_service",
    "_invoice_line_item", "_invoice_payment", "_list_object", "_payment_intent", "_payment_intent_service",
    "_payment_method", "_plan", "_price", "_price_service", "_product", "_product_service", "_search_result_object",
    "_subscription", "_subscription_item", "_subscription_service", "_invoice_service", "_checkout_service",
    "checkout._session", "checkout._session_service",
)  # fmt: skip
"""What the SDK imports where it meets it first."""


def _warm() -> None:
    """Have what every process would make anew, which would be most of its work: before it is forked."""
    for late in _LATE:
        importlib.import_module(f"stripe.{late}")
    for kind in KINDS:
        table(kind, "?")
        table(kind, "$")
    for name in ("letter.txt", "letter.html"):
        _template(name)


_warm()
CATALOG = selling()
OVERDRAWN = change_plan(CATALOG, "pro", exhaustion=Exhaustion(overage=Overage(price=OVERAGE_PRICE)))


class Where(Struct, frozen=True):
    """Where a process of the till finds Stripe and the mail server."""

    base: str
    mail: str


class Till:
    """One process of the till, and the customer before it."""

    def __init__(
        self, where: Where, store: Store, ledger: Any, street: Street, wire: Wire, plant: str
    ) -> None:
        self.clock, self.ledger, self.street = store.clock, ledger, street
        payments = StripePayments(DEFAULT_KEY, [HOOK_SECRET], self.clock, base=where.base, retries_max=0)
        mail = SmtpMail(where.mail, "till@shop.test", "Goals", self.clock)
        ports = {"rows": ledger.rows, "ledger": ledger, "stripe": payments, "mail": mail}
        wired = {name: wire.across(port, name) for name, port in ports.items()}
        wired = rig_plan_plants.plant(plant, wired)
        means = Means(
            ledger=wired["ledger"], rows=wired["rows"], payments={"stripe": wired["stripe"]}, clock=self.clock,
            ids=SystemIds(), secret=SECRET, address=lambda: "https://shop.test", patience=QUICK,
        )  # fmt: skip
        seal = AesSeal(SECRET, "webhooks", secrets.token_bytes)
        self.shop = open_shop(means, Posting(wired["mail"], HttpOutbound(private=True), seal))
        self.hasty = plant == rig_plan_plants.HASTY
        self.answered: set[str] = set()
        self.answer: Callable[[str], None] = self.answered.add

    async def step(self, name: str, work: Callable[[], Awaitable[object]]) -> None:
        """One step of a story, unless it was answered before."""
        if name not in self.answered:
            await work()
            self.answer(name)

    # ---- what a customer asks for ------------------------------------------------------------------------

    async def plan(self, plan: str) -> None:
        """The customer orders a plan."""
        ask = Ask(organization=ORGANIZATION, key=f"plan {plan}")
        ordered = await self.shop.subscribing.start(ask, plan)
        assert isinstance(ordered, Purchase), ordered

    async def leave(self) -> None:
        """The customer leaves the plan."""
        left = await self.shop.subscribing.cancel(ORGANIZATION, "leave")
        assert isinstance(left, Receipt), left

    async def pack(self) -> None:
        """The customer orders a pack and agrees to the card being saved."""
        ask = Ask(organization=ORGANIZATION, key="pack", terms=Terms(save_method=True))
        ordered = await self.shop.checkout.buy_pack(ask, PACK)
        assert isinstance(ordered, Purchase), ordered

    async def pay(self) -> None:
        """The customer pays every checkout that is open; one that is complete takes nothing more."""
        for row in await self.purchases():
            if row.checkout is not None and row.paid_at is None:
                await self.street.do("pay", session=row.checkout, card=VISA)

    async def use(self, goals: int) -> None:
        """The customer uses tokens, three for a goal; the host's key is that of its own operation."""
        charge = c.Charge(feature="generate_goal", quantity=goals)
        reply = await self.shop.means.ledger.submit(c.Envelope(ORGANIZATION, charge, f"{goals:032x}", True))
        assert isinstance(reply, Receipt), reply

    # ---- what Stripe and time do -------------------------------------------------------------------------

    async def hear(self) -> None:
        """Every event that was not acknowledged is sent, those too that come of it."""
        while new := await self.street.ask("events", but=sorted(self.answered)):
            for event in new:
                body = json.dumps(event).encode()
                signed = sign(body, HOOK_SECRET, self.clock.now() // 1000)
                if self.hasty:
                    self.answer(event["id"])
                row = await self.shop.webhooks.receive("stripe", Inbound(body, {"stripe-signature": signed}))
                self.answer(event["id"])
                if row is not None:
                    await self.shop.webhooks.process(row)

    async def until(self, day: int, and_ms: int = 0) -> None:
        """Time passes until so many days after the beginning, and so much more."""
        self.clock.time = await self.street.ask("time", to=T0 + day * DAY + and_ms)

    async def work(self) -> None:
        """What is due is done, by the account as the sweeper has it, and by the clerk; the journal is followed."""
        await self.shop.means.ledger.submit(c.Envelope(ORGANIZATION, c.Tick(), secrets.token_hex(16)))
        async with asyncio.timeout(60):
            account = await self.ledger.account(ORGANIZATION)
            seq = 0 if account is None else account.state.seq
            # On PostgreSQL transactions of other tests may hold it back.
            while len((await self.ledger.follow("", 10_000)).rows) < seq:  # noqa: ASYNC110 the journal has no event
                await asyncio.sleep(0.01)
            await self.shop.clerk.once()

    async def card(self, number: str) -> None:
        """The customer has another card at Stripe."""
        subscription = await self.shop.subscribing.current(ORGANIZATION)
        assert subscription is not None
        await self.street.do("change_card", subscription=subscription.ref, card=number)

    async def settle_invoice(self) -> None:
        """The customer pays what is owed on Stripe's page."""
        for row in await self.purchases():
            if row.invoice is not None and row.paid_at is None:
                await self.street.do("pay_invoice", invoice=row.invoice, card=VISA)

    # ---- how everything ended ----------------------------------------------------------------------------

    async def end(self) -> None:
        """Leases of dead processes end, what they left is done, and what Stripe had not told yet is told."""
        for wait in (11_000, 61_000):
            self.clock.time = await self.street.ask("time", to=self.clock.now() + wait)
            await self.work()
            await self.hear()
        await self.work()

    async def purchases(self) -> Sequence[Purchase]:
        found: Sequence[Purchase] = await self.ledger.rows.find(Purchase, {"organization": ORGANIZATION})
        return found

    async def facts(self) -> dict[str, Any]:
        """How everything stands, but for when it happened."""
        account = await self.ledger.account(ORGANIZATION)
        state, rows = account.state, self.ledger.rows
        page = await self.ledger.journal(ORGANIZATION, None, 1000)
        found: dict[str, Any] = {
            "free": account.free,
            "account": [state.plan, account.aside, state.failed_at is not None, available(state), bool(state.scheduled)],
            "purchases": sorted(
                [row.kind, row.item, row.state, row.amount, row.credit, row.credit_used, sorted(row.done), row.refunded]
                for row in await self.purchases()
            ),
            "undone": [row.id for row in await self.purchases() if next_step(row) is not None],
            "subscriptions": sorted(
                [row.plan, row.status, row.amount, row.next_plan, row.change, row.ends_at is not None]
                for row in await rows.find(Subscription, {"organization": ORGANIZATION})
            ),
            "topups": [
                [row.enabled, row.stopped, row.spent, row.purchase] for row in await rows.find(TopUp, {})
            ],
            "journal": sorted(_movement(row.entry) for row in page.rows if not isinstance(row.entry, MARKS)),
            "events": sorted(row.state for row in await rows.find(ProviderEvent, {}, limit=1000)),
            "messages": sorted(
                [row.type, row.channel, row.state] for row in await rows.find(Message, {}, limit=1000)
            ),
            "alerts": sorted(row.code for row in await rows.find(Alert, {})),
            "findings": [str(one) for one in (await self.ledger.verify()).findings],
        }  # fmt: skip
        outside: dict[str, Any] = await self.street.ask("facts")
        return found | outside


MARKS = (e.Frozen, e.StandingChanged, e.PlanChanged, e.PlanScheduled)
"""Entries that move no tokens, and of which there may be one more where somebody was told later."""


def _movement(entry: e.Entry) -> list[Any]:
    """What an entry moved, in a word and in tokens."""
    return [str(entry.__struct_config__.tag), getattr(entry, "tokens", 0)]


# ---- the stories ---------------------------------------------------------------------------------------------


async def nothing(till: Till) -> None:
    """A customer on the free plan, who gets letters."""
    await ok(till.ledger, ORGANIZATION, c.Open(plan="starter"))
    assert till.shop.notices is not None
    await till.shop.notices.set_contact(ORGANIZATION, "ann@acme.test", "Ann", ())


async def subscribed(till: Till) -> None:
    """A customer on a plan that was paid."""
    await nothing(till)
    await subscribe(till)
    await till.work()


async def saved(till: Till) -> None:
    """A customer who has bought a pack, and lets the till buy the next."""
    await nothing(till)
    await ok(till.ledger, ORGANIZATION, c.ChangePlan(plan="pro"))
    await till.pack()
    await till.pay()
    await till.hear()
    await till.work()
    row = await till.shop.topups.set(ORGANIZATION, threshold=THRESHOLD, pack=PACK, ceiling=CEILING)
    assert isinstance(row, TopUp), row
    await till.work()


async def failing(till: Till) -> None:
    """A customer on a plan, with a pack and credit for a part of the next payment, whose card will be declined."""
    await subscribed(till)
    await ok(till.ledger, ORGANIZATION, c.Grant(tokens=CREDIT, origin="credit", unit="money"))
    await ok(till.ledger, ORGANIZATION, c.Grant(tokens=500, origin="pack"))
    await till.card(DECLINED)
    await till.hear()
    await till.work()


async def subscribe(till: Till) -> None:
    """A plan by subscription: ordered, paid, told, granted, and a receipt sent."""
    await till.step("order", lambda: till.plan("pro"))
    await till.step("pay", till.pay)
    await till.step("hear", till.hear)
    await till.step("work", till.work)


async def upgrade_and_leave(till: Till) -> None:
    """Up in the middle of a period, and away at the end of the next."""
    await till.step("half", lambda: till.until(15))
    await till.step("up", lambda: till.plan("enterprise"))
    await till.step("hear up", till.hear)
    await till.step("leave", till.leave)
    await till.step("hear leaving", till.hear)
    await till.step("end", lambda: till.until(50))
    await till.step("hear the end", till.hear)
    await till.step("work", till.work)


async def top_up(till: Till) -> None:
    """Used until too little is left; the next pack comes by itself, long before Stripe's events do."""
    await till.step("use", lambda: till.use(210))
    await till.step("work", till.work)


async def fail_and_recover(till: Till) -> None:
    """A renewal of which credit pays a part and the rest is declined, down the ladder, and paid in the end.

    Its invoice is a draft for an hour; what a dead process left is done within it, because leases end long before.
    """
    await till.step("a month", lambda: till.until(30))
    await till.step("hear draft", till.hear)
    await till.step("leases", lambda: till.until(30, 72_000))
    await till.step("work draft", till.work)
    await till.step("an hour", lambda: till.until(32))
    await till.step("hear failure", till.hear)
    await till.step("work", till.work)
    await till.step("ladder", lambda: till.until(44))
    await till.step("hear more", till.hear)
    await till.step("work more", till.work)
    await till.step("pay", till.settle_invoice)
    await till.step("hear payment", till.hear)
    await till.step("work last", till.work)


async def overdraw(till: Till) -> None:
    """More is used than the plan has; the period ends, and the rest is billed to the card."""
    await till.step("use", lambda: till.use(70))
    await till.step("a month", lambda: till.until(32))
    await till.step("hear renewal", till.hear)
    await till.step("work", till.work)
    await till.step("hear bill", till.hear)
    await till.step("receipt", till.work)


Story = Callable[[Till], Awaitable[None]]
STORIES: dict[str, tuple[Story, Story]] = {
    "subscribe": (nothing, subscribe),
    "upgrade": (subscribed, upgrade_and_leave),
    "topup": (saved, top_up),
    "failure": (failing, fail_and_recover),
    "overage": (subscribed, overdraw),
}
"""What was before, and what is told."""


# ---- the process ---------------------------------------------------------------------------------------------


def tell(
    channel: Channel, *, engine: Engine, url: str, base: str, mail: str, story: str, part: str, place: str,
    at: int, answered: Sequence[str], plant: str,
) -> None:  # fmt: skip
    """Prepare a story, or tell it and be killed at the `at`-th crossing of `place`; with `at` 0 tell it to its end.

    The last line says what was crossed, and how everything ended.
    """
    wire = Wire(at, lambda: os.kill(os.getpid(), signal.SIGKILL), place)

    async def run() -> None:
        store = Store(engine, url, snapshot_bytes_min=SNAPSHOT_BYTES)
        street = Street(base)
        store.clock.time = await street.ask("time")
        if part == "told":
            faults.install(wire.cross)
        ledger = await store.open(catalog=OVERDRAWN if story == "overage" else CATALOG)
        till = Till(Where(base, mail), store, ledger, street, wire, plant)
        till.answered |= set(answered)

        def answer(name: str) -> None:
            till.answered.add(name)
            channel.write({"answered": name})

        till.answer = answer
        before, told = STORIES[story]
        await (before if part == "before" else told)(till)
        if part == "told":
            places = list(wire.places)
            if at == 0:
                await till.end()
            channel.write({"places": places})
            if at == 0:
                channel.write({"facts": await till.facts()})
        await till.shop.close()
        faults.install(None)
        await store.close()
        await street.close()

    asyncio.run(run())
