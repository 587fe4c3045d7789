"""Each kind of notice, in the order of a customer's months, told once by mail and by webhook with its figures.

The mail server is a process of its own. R-PLAN-8, R-PACK-7, R-PACK-11, R-LIC-1, R-LIC-2, R-LIC-3, R-PLAN-6, R-REF-6.
"""

import json
from contextlib import AsyncExitStack
from pathlib import Path

from tests.support.desk import DAY, change_plan
from tests.support.post import PostOffice, mail_server, receiver
from tests.support.shops import make_world, selling
from tests.support.stores import MONTH, Store, ok, sqlite_url
from tests.support.telling import Telling, plain
from tokentill.rules import commands as c
from tokentill.rules import happenings as h
from tokentill.rules.catalog import Exhaustion, Overage
from tokentill.rules.notices import MAILED, TYPES
from tokentill.rules.rows import Payer
from tokentill.rules.topups import STOPPED

REFUNDS = {name for name in TYPES if name.startswith("refund.")}
"""Shown in `tests/flows/test_refund_notices.py`, and `purchase.ready` in `tests/flows/test_handovers.py`."""


KINDS: list[tuple[str, dict[str, object]]] = [
    ("purchase.delivered", {"tokens": 500, "balance": 700}),
    ("tokens.set_aside", {"tokens": 500, "balance": 200}),
    ("tokens.given_back", {"tokens": 500, "balance": 700}),
    ("balance.low", {"code": "percent", "threshold": 40, "balance": 35}),
    ("balance.low", {"code": "tokens", "threshold": 10, "balance": 1}),
    ("balance.exhausted", {"balance": 0}),
    ("overage.billed", {"tokens": 14, "amount": 2_100, "currency": "USD"}),
    ("period.started", {"plan": "pro", "tokens": 200, "balance": 200}),
    ("payment.failed", {"tokens": 200}),
    ("licence.changed", {"standing": "grace"}),
    ("licence.changed", {"standing": "offline"}),
    ("payment.recovered", {"tokens": 200, "balance": 200}),
    ("plan.changed", {"plan": "enterprise", "before": "pro"}),
    ("period.started", {"plan": "enterprise", "tokens": 2_000}),
    ("purchase.delivered", {"tokens": 500, "balance": 2_500}),
    ("tokens.expiring", {"tokens": 500}),
    ("tokens.taken_back", {"tokens": 500, "balance": 2_000}),
    (
        "topup.stopped",
        {"reason": "declined", "text": STOPPED["declined"], "pack": "token_pack_500", "balance": 2_000},
    ),
]
SAID = {
    "Receipt: 500 tokens": "Paid: $29.00",
    "Your tokens are running low": "You have 1 token left.",
    "You've used all your tokens": "You've reached your limit.",
    "$21.00 for use beyond your plan": "you used 14 tokens beyond your plan. That is $21.00, due now.",
    "200 tokens for the new period": "200 tokens of your plan, until 1 March 2026.",
    "Your payment failed": "200 tokens are kept for you",
    "Your payment arrived": "Everything is back, with 200 tokens to use.",
    "2,000 tokens for the new period": "2,000 tokens of your plan, until 16 March 2026.",
    "500 tokens will expire on 26 February 2026": "What expires first is spent first.",
    "Unspent tokens of a purchase were taken back": "A purchase was refunded, so 500 tokens of it",
    "Your automatic top-up has stopped": STOPPED["declined"],
}
"""Letters by their subjects."""


async def months(telling: Telling) -> None:
    """A pack that is disputed and won, use beyond the plan, a payment that fails, another plan, tokens that end."""
    world, ledger = telling.world, telling.world.ledger
    pack = await world.place(world.order("acme", valid_days=100))
    await world.tell(*world.provider.pay(pack.checkout or ""))
    await world.follow()
    payment = (await world.purchase(pack)).payment or ""
    fact = {"payment": payment, "dispute": "d", "amount": 2900, "currency": "USD"}
    for at, state in enumerate(("open", "won"), 1):
        await world.tell(h.Disputed(at=at, state=state, **fact))  # type: ignore[arg-type]  # names of fields
        await world.follow()
    await ok(ledger, "acme", c.Adjust(tokens=-665, reason="spent", actor="test"))
    await ok(ledger, "acme", c.Adjust(tokens=-34, reason="spent", actor="test"))
    for _ in range(5):
        await ok(ledger, "acme", c.Charge(feature="generate_goal"))
    await world.follow()
    world.clock.time += MONTH
    await ok(ledger, "acme", c.Tick())
    await world.follow()
    await ok(ledger, "acme", c.Freeze())
    world.clock.time += 15 * DAY
    await ok(ledger, "acme", c.Tick())
    await world.follow()
    await ok(ledger, "acme", c.Restore())
    await ok(ledger, "acme", c.ChangePlan(plan="enterprise"))
    short = await world.place(world.order("acme", valid_days=10))
    await world.tell(*world.provider.pay(short.checkout or ""))
    await world.follow()
    world.clock.time += 4 * DAY
    await ok(ledger, "acme", c.Tick())
    await ok(ledger, "acme", c.Revoke(origin="refund", reference=short.id))
    await world.follow()
    card = Payer(
        id="scripted:acme:pm_declined", organization="acme", provider="scripted", method="m", saved="pm_declined",
        customer="cus", used_at=1,
    )  # fmt: skip
    await world.rows.add(card)
    await world.shop.topups.set("acme", threshold=5_000, pack="token_pack_500", ceiling=10_000)
    await world.follow()


async def test_each_kind_of_notice_is_told(tmp_path: Path) -> None:
    store = Store("sqlite", sqlite_url(tmp_path))
    catalog = change_plan(selling(), "pro", exhaustion=Exhaustion(overage=Overage(price=150)))
    async with AsyncExitStack() as stack:
        address, kept = await stack.enter_async_context(mail_server(tmp_path / "mail"))
        hook = await stack.enter_async_context(receiver())
        world = await make_world(store, tmp_path, catalog=catalog)
        office = PostOffice()
        office.url = address
        telling = Telling(world, office, hook)
        await world.begin("acme")
        await world.follow()
        await telling.write_to()
        _, secret = await telling.call()
        await months(telling)
        letters = kept()
        told = sorted((json.loads(body) for _, body in hook.got), key=lambda one: one["id"].zfill(9))
        assert hook.check(secret)
        await world.shop.close()
        await store.close()
    assert [one["type"] for one in told] == [kind for kind, _ in KINDS]
    assert {one["type"] for one in told} == set(TYPES) - REFUNDS - {"purchase.ready"}
    for one, (kind, figures) in zip(told, KINDS, strict=True):
        assert figures.items() <= {**one["data"], "balance": one["balance"]}.items(), kind
    mailed = {kind for kind, _ in KINDS} & MAILED
    assert len(letters) == sum(kind in mailed for kind, _ in KINDS)
    assert {one.get_content_type() for one in letters} == {"multipart/alternative"}
    read: dict[str, str] = {}
    for one in letters:
        read[str(one["Subject"])] = read.get(str(one["Subject"]), "") + plain(one)
    assert set(read) == set(SAID)
    assert [subject for subject, sentence in SAID.items() if sentence not in read[subject]] == []
