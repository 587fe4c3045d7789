"""Orders: the routes that change an account. Each turns its request into one command and submits it once.

The operation's id comes from the caller's `Idempotency-Key`, or is made here where there is none (R-LED-9).
Settle, release, extend and refund belong to the operation that their path names, so a duplicate of them is
known without a key. A duplicate gets the first answer again, byte for byte, with `Idempotent-Replayed: true`.

A hold or an operation may be named by its id or by the key the caller gave it.

Requirement ids: R-LED-3, R-LED-7, R-LED-8, R-LED-9, R-LED-10, R-LIC-1, R-LIC-3, R-PLAN-4, R-ABU-6.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tokentill.rules import commands as c
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Code, Refusal
from tokentill.web import problems
from tokentill.web.asgi import Answer, Headers
from tokentill.web.call import Call
from tokentill.web.site import Run, Site

Order = Callable[[Site, Call], c.Command]

REPLAYED: Headers = ((b"idempotent-replayed", b"true"),)

NO_SIMULATION = Refusal(
    Code.NOT_POSSIBLE,
    "There are no simulated clocks here: they need the embedded payment provider, which production refuses.",
    detail="simulated",
)

_encode = msgspec.json.Encoder().encode


def keyed(order: Order, status: int = 200) -> Run:
    """A route whose operation the caller's idempotency key names."""

    async def run(site: Site, call: Call) -> Answer:
        key = call.key
        if key is None:
            envelope = c.Envelope(call.organization, order(site, call), site.ids.operation())
        else:
            envelope = c.Envelope(call.organization, order(site, call), site.operation_id(key), keyed=True)
        reply = await site.open_ways(call.organization, await site.ledger.submit(envelope))
        return answer(site, reply, status)

    return run


def of_operation(order: Order, status: int = 200) -> Run:
    """A route that goes on with the operation its path names."""

    async def run(site: Site, call: Call) -> Answer:
        return answer(
            site, await site.ledger.submit(c.Envelope(call.organization, order(site, call))), status
        )

    return run


def answer(site: Site, reply: Receipt | Refusal, status: int) -> Answer:
    """The answer to what the ledger replied."""
    if isinstance(reply, Refusal):
        site.telemetry.refused(reply.code)
        return problems.of_refusal(reply)
    if reply.replayed:
        return Answer(status, _encode(msgspec.structs.replace(reply, replayed=False)), headers=REPLAYED)
    if reply.kind == "charge":
        site.telemetry.tokens_charged += reply.tokens
    return Answer(status, _encode(reply))


def reserve(_site: Site, call: Call) -> c.Reserve:
    """Hold tokens for an operation that is about to run."""
    body = call.body
    return c.Reserve(
        feature=body.feature,
        user=body.user,
        quantity=body.quantity,
        tokens=body.tokens,
        least=body.least,
        timeout_ms=body.timeout_ms,
    )


def charge(_site: Site, call: Call) -> c.Charge:
    """Charge at once."""
    body = call.body
    return c.Charge(feature=body.feature, user=body.user, quantity=body.quantity, tokens=body.tokens)


def settle(site: Site, call: Call) -> c.Settle:
    """Charge what the held operation cost."""
    body = call.body
    return c.Settle(
        hold=site.operation_id(call.params[1]), tokens=body.tokens, output_tokens=body.output_tokens
    )


def release(site: Site, call: Call) -> c.Release:
    """End the hold, charge nothing."""
    return c.Release(hold=site.operation_id(call.params[1]), reason=call.body.reason)


def extend(site: Site, call: Call) -> c.Extend:
    """Let the hold last longer."""
    return c.Extend(hold=site.operation_id(call.params[1]), timeout_ms=call.body.timeout_ms)


def refund(site: Site, call: Call) -> c.Refund:
    """Give a charge back."""
    body = call.body
    return c.Refund(operation=site.operation_id(call.params[1]), tokens=body.tokens, reason=body.reason)


def grant(_site: Site, call: Call) -> c.Grant:
    """Add a lot, in the name of the operator key."""
    body = call.body
    return c.Grant(
        tokens=body.tokens,
        origin=body.origin,
        expires_at=body.expires_at,
        unit=body.unit,
        reference=body.reference,
        reason=body.reason,
        actor=call.actor,
    )


def adjust(_site: Site, call: Call) -> c.Adjust:
    """Correct the balance by hand, in the name of the operator key."""
    return c.Adjust(tokens=call.body.tokens, reason=call.body.reason, actor=call.actor)


def freeze(_site: Site, call: Call) -> c.Freeze:
    """Payment failed."""
    return c.Freeze(failed_at=call.body.failed_at, reason=call.body.reason)


def restore(_site: Site, call: Call) -> c.Restore:
    """Payment is fixed."""
    return c.Restore(reason=call.body.reason)


def change_plan(_site: Site, call: Call) -> c.ChangePlan:
    """Move to another plan, or cancel."""
    return c.ChangePlan(plan=call.body.plan, when=call.body.when)


def reset(_site: Site, call: Call) -> c.Reset:
    """Begin a new period."""
    return c.Reset(end=call.body.end, reason=call.body.reason)


def set_cap(_site: Site, call: Call) -> c.SetCap:
    """Set the spending cap."""
    return c.SetCap(cap=call.body.cap)


def unblock(_site: Site, call: Call) -> c.Unblock:
    """Lift a block, in the name of the operator key."""
    return c.Unblock(user=call.params[1], reason=call.body.reason, actor=call.actor)


def review(site: Site, call: Call) -> c.Review:
    """List a charge that could not be stored for a person to look at."""
    body = call.body
    return c.Review(hold=site.operation_id(body.hold), tokens=body.tokens, reason=body.reason)


async def open_organization(site: Site, call: Call) -> Answer:
    """Begin an account; the body names it, for its path does not exist yet."""
    if call.body.simulated and (site.shop is None or site.shop.testclock is None):
        return answer(site, NO_SIMULATION, 201)
    call.params.append(call.body.id)
    return await _open(site, call)


_open = keyed(
    lambda _site, call: c.Open(plan=call.body.plan, anchor=call.body.anchor, simulated=call.body.simulated),
    status=201,
)
