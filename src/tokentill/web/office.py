"""The office: codes, switches, alerts, contacts, webhook endpoints, messages, events and the test clock.

As in `tokentill.web.shop`, a handler takes the shop and a call, and gives a view or a refusal.

Requirement ids: R-PACK-4, R-PACK-8, R-PACK-9, R-PLAN-8, R-PLAT-1, R-PLAT-3.
"""

from __future__ import annotations

from msgspec.structs import replace

from tokentill.flows.checkout import Ask
from tokentill.flows.codes import Batch
from tokentill.flows.notices import Notices
from tokentill.flows.shop import Shop
from tokentill.flows.switches import WHOLE
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.rows import Alert, Message, ProviderEvent, RedemptionCode
from tokentill.web import office_views as views
from tokentill.web import shop_views
from tokentill.web.call import Call
from tokentill.web.shop import UNKNOWN

# ---- codes -------------------------------------------------------------------------------------------------


async def redeem(shop: Shop, call: Call) -> shop_views.PurchaseView | Refusal:
    """Bring a code's tokens, once for all (R-PACK-8)."""
    ask = Ask(organization=call.organization, user=call.body.user)
    found = await shop.codes.redeem(ask, call.body.code)
    return found if isinstance(found, Refusal) else shop_views.purchase(found)


async def create_codes(shop: Shop, call: Call) -> views.NewCodes | Refusal:
    """Make a batch of codes; under a key they are the same codes again."""
    body = call.body
    batch = Batch(
        name=body.batch,
        tokens=body.tokens,
        count=body.count,
        title=body.title,
        valid_days=body.valid_days,
        expires_at=body.expires_at,
    )
    made = await shop.codes.create(batch, call.key)
    if isinstance(made, Refusal):
        return made
    return views.NewCodes(batch=body.batch, tokens=body.tokens, codes=tuple(made))


async def codes(shop: Shop, call: Call) -> views.CodeList | Refusal:
    """Codes of a batch or of all, without what they are written as."""
    query = call.query
    equal = {} if query.batch is None else {"batch": query.batch}
    found = await shop.means.rows.find(RedemptionCode, equal, before=query.before, limit=query.limit)
    return views.CodeList(codes=tuple(map(views.code, found)), next=views.following(found, query.limit))


async def revoke_code(shop: Shop, call: Call) -> views.CodeView | Refusal:
    """Withdraw a code that was not redeemed yet."""
    found = await shop.codes.revoke(call.params[0])
    return found if isinstance(found, Refusal) else views.code(found)


# ---- switches, alerts --------------------------------------------------------------------------------------


async def switches(shop: Shop, _call: Call) -> views.SwitchList | Refusal:
    """Every switch there is, and how it stands (R-PACK-9)."""
    turned = {row.id: row for row in await shop.switches.all()}
    names = (*WHOLE, *(f"pack:{name}" for name in shop.means.ledger.catalog.packs))
    untouched = (
        views.SwitchView(switch=name, on=True, reason="", actor="", at=None)
        for name in names
        if name not in turned
    )
    return views.SwitchList(switches=(*map(views.switch, turned.values()), *untouched))


async def turn_switch(shop: Shop, call: Call) -> views.SwitchView | Refusal:
    """Stop selling something at once, or begin again."""
    body = call.body
    found = await shop.switches.turn(body.switch, on=body.on, reason=body.reason, actor=call.actor)
    return found if isinstance(found, Refusal) else views.switch(found)


async def alerts(shop: Shop, call: Call) -> views.AlertList | Refusal:
    """What an operator should look at."""
    query = call.query
    found = await shop.means.rows.find(Alert, {}, before=query.before, limit=query.limit)
    shown = tuple(views.alert(row) for row in found if query.seen or row.seen_at is None)
    return views.AlertList(alerts=shown, next=views.following(found, query.limit))


async def see_alert(shop: Shop, call: Call) -> views.AlertView | Refusal:
    """Somebody has looked at it; who was first stays on the record."""
    means = shop.means
    found = await means.rows.find(Alert, {"id": call.params[0]}, limit=1)
    if not found:
        return Refusal(Code.NOT_POSSIBLE, "There is no alert of this id.", detail="alert")
    now, actor = means.clock.now(), call.actor
    seen = await means.change(
        found[0],
        lambda row: row if row.seen_at is not None else replace(row, seen_at=now, seen_by=actor),
    )
    return views.alert(seen)


async def events(shop: Shop, call: Call) -> views.EventList | Refusal:
    """Events of payment providers and how they stand (R-PLAT-3)."""
    query = call.query
    equal = {"state": query.state}
    found = await shop.means.rows.find(ProviderEvent, equal, before=query.before, limit=query.limit)
    return views.EventList(events=tuple(map(views.event, found)), next=views.following(found, query.limit))


async def retry_event(shop: Shop, call: Call) -> views.EventView | Refusal:
    """Try an event once more; what it did already is not done again (R-PACK-3)."""
    event = await shop.webhooks.revive(call.params[0])
    if event is None:
        return Refusal(Code.NOT_POSSIBLE, "There is no event of this id.", detail="event")
    shop.clerk.wake()
    return views.event(event)


# ---- who is told -------------------------------------------------------------------------------------------


def _notices(shop: Shop) -> Notices | Refusal:
    return shop.notices or Refusal(Code.NOT_POSSIBLE, "This till was built without messages.")


async def _desk(shop: Shop, organization: str) -> Notices | Refusal:
    """The notices, for an organization that there is."""
    if organization and await shop.means.ledger.account(organization) is None:
        return UNKNOWN
    return _notices(shop)


async def contact(shop: Shop, call: Call) -> views.ContactView | Refusal:
    """Where the organization gets its e-mail."""
    notices = await _desk(shop, call.organization)
    return (
        notices if isinstance(notices, Refusal) else views.contact(await notices.contact(call.organization))
    )


async def set_contact(shop: Shop, call: Call) -> views.ContactView | Refusal:
    """Say where the organization gets its e-mail."""
    notices = await _desk(shop, call.organization)
    if isinstance(notices, Refusal):
        return notices
    body = call.body
    found = await notices.set_contact(call.organization, body.email, body.name, body.quiet)
    return found if isinstance(found, Refusal) else views.contact(found)


async def forget_contact(shop: Shop, call: Call) -> views.Removed | Refusal:
    """Erase the address."""
    notices = await _desk(shop, call.organization)
    if isinstance(notices, Refusal):
        return notices
    return views.Removed(removed=await notices.forget_contact(call.organization))


def _owner(call: Call, least: int) -> str:
    """The organization whose endpoints are meant; empty for the operator's own."""
    return call.params[0] if len(call.params) > least else ""


async def endpoints(shop: Shop, call: Call) -> views.EndpointList | Refusal:
    """Addresses that get webhooks."""
    owner = _owner(call, 0)
    notices = await _desk(shop, owner)
    if isinstance(notices, Refusal):
        return notices
    found = await notices.endpoints(owner)
    return views.EndpointList(endpoints=tuple(map(views.endpoint, found)))


async def add_endpoint(shop: Shop, call: Call) -> views.NewEndpoint | Refusal:
    """Add an address; its secret is shown this once."""
    owner = _owner(call, 0)
    notices = await _desk(shop, owner)
    if isinstance(notices, Refusal):
        return notices
    made = await notices.add_endpoint(owner, call.body.url, call.body.events, call.key)
    if isinstance(made, Refusal):
        return made
    row, secret = made
    return views.NewEndpoint(id=row.id, url=row.url, events=row.events, secret=secret)


async def drop_endpoint(shop: Shop, call: Call) -> views.Removed | Refusal:
    """Remove an address."""
    owner = _owner(call, 1)
    notices = await _desk(shop, owner)
    if isinstance(notices, Refusal):
        return notices
    return views.Removed(removed=await notices.drop_endpoint(owner, call.params[-1]))


async def messages(shop: Shop, call: Call) -> views.MessageList | Refusal:
    """Messages and how they stand."""
    notices = _notices(shop)
    if isinstance(notices, Refusal):
        return notices
    query = call.query
    found = await notices.messages(query.state, query.before, query.limit)
    following = views.following(found, query.limit)
    return views.MessageList(messages=tuple(map(views.message, found)), next=following)


async def send_message(shop: Shop, call: Call) -> views.MessageView | Refusal:
    """Try a message once more from the beginning."""
    notices = _notices(shop)
    if isinstance(notices, Refusal):
        return notices
    known = await shop.means.rows.find(Message, {"id": call.params[0]}, limit=1)
    sent = await notices.send_again(known[0].organization, known[0].id) if known else None
    if sent is None:
        return Refusal(Code.NOT_POSSIBLE, "There is no message of this id.", detail="message")
    shop.clerk.wake()
    return views.message(sent)


# ---- the test clock ----------------------------------------------------------------------------------------


async def move_clock(shop: Shop, call: Call) -> views.ClockView | Refusal:
    """Move a simulated clock; whatever is due on the way happens in order."""
    if shop.testclock is None:
        message = "There are no simulated clocks here: they need the embedded payment provider."
        return Refusal(Code.NOT_POSSIBLE, message, detail="clock")
    moved = await shop.testclock.advance(call.organization, call.body.to)
    return moved if isinstance(moved, Refusal) else views.ClockView(time=moved.time, invoices=moved.invoices)
