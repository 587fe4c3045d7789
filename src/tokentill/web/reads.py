"""Reads: the routes that change nothing. They answer from the store, never from a cache of decisions.

Requirement ids: R-LED-1, R-LED-5, R-LIC-4, R-ABU-8, R-PLAT-3.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error

import msgspec

from tokentill.flows import check
from tokentill.rules.commands import Reserve
from tokentill.rules.refusals import Code, Refusal, unknown_organization
from tokentill.web import problems, views
from tokentill.web.asgi import Answer
from tokentill.web.call import Call
from tokentill.web.site import Site

_UNKNOWN = unknown_organization()
_encode = msgspec.json.Encoder().encode


def _refuse(site: Site, refusal: Refusal) -> Answer:
    site.telemetry.refused(refusal.code)
    return problems.of_refusal(refusal)


async def organizations(site: Site, call: Call) -> Answer:
    """Organization ids in order."""
    query = call.query
    found = tuple(await site.ledger.organizations(query.after, query.limit))
    following = found[-1] if len(found) == query.limit else None
    return Answer(200, _encode(views.OrganizationList(organizations=found, next=following)))


async def organization(site: Site, call: Call) -> Answer:
    """An organization with its plan, standing and balance."""
    account = await site.ledger.account(call.organization)
    if account is None:
        return _refuse(site, _UNKNOWN)
    now = await site.balance(call.organization, account)
    view = views.OrganizationView(id=call.organization, plan=now.plan, standing=now.standing, balance=now)
    return Answer(200, _encode(view))


async def balance_of(site: Site, call: Call) -> Answer:
    """The balance (R-LED-1)."""
    account = await site.ledger.account(call.organization)
    return (
        _refuse(site, _UNKNOWN)
        if account is None
        else Answer(200, _encode(await site.balance(call.organization, account)))
    )


async def journal(site: Site, call: Call) -> Answer:
    """The journal, newest first (R-LED-5)."""
    query = call.query
    before = None if query.before is None else _row(query.before)
    page = await site.ledger.journal(call.organization, before, query.limit)
    if page is None:
        return _refuse(site, _UNKNOWN)
    lines = tuple(views.line(row) for row in page.rows)
    following = None if page.next is None else _cursor(page.next)
    return Answer(200, _encode(views.JournalView(entries=lines, next=following)))


def _cursor(row: int) -> str:
    return urlsafe_b64encode(b"j%d" % row).rstrip(b"=").decode()


_is_row = re.compile(rb"j([1-9][0-9]{0,17})").fullmatch


def _row(cursor: str) -> int:
    try:
        found = _is_row(urlsafe_b64decode(cursor.encode("ascii") + b"=="))
    except (Error, ValueError):
        found = None
    if found is None or _cursor(int(found[1])) != cursor:
        raise problems.invalid("`before` is no cursor of this journal; take the `next` of a page.", "before")
    return int(found[1])


async def operation(site: Site, call: Call) -> Answer:
    """Everything that happened to one operation."""
    ident = site.operation_id(call.params[1])
    rows = await site.ledger.operation(call.organization, ident)
    if rows is None:
        return _refuse(site, _UNKNOWN)
    if not rows:
        return _refuse(
            site, Refusal(Code.UNKNOWN_OPERATION, "This organization has no operation of this id or key.")
        )
    return Answer(200, _encode(views.operation(ident, tuple(views.line(row) for row in rows))))


async def features(site: Site, call: Call) -> Answer:
    """Every feature with on/off and why (R-LIC-4)."""
    found = await check.features(site.ledger, site.clock, call.organization)
    return _refuse(site, _UNKNOWN) if found is None else Answer(200, _encode(found))


async def checks(site: Site, call: Call) -> Answer:
    """Every layer's verdict on a use, changing nothing (R-ABU-8)."""
    query = call.query
    use = Reserve(feature=query.feature, user=query.user, quantity=query.quantity, tokens=query.tokens)
    found = await check.battery(site.ledger, site.clock, call.organization, use)
    if found is None:
        return _refuse(site, _UNKNOWN)
    if isinstance(found, Refusal):
        return _refuse(site, found)
    if site.shop is not None:
        found = await site.shop.ways.checks(call.organization, found)
    return Answer(200, _encode(found))


async def catalog(site: Site, _call: Call) -> Answer:
    """What is sold."""
    return Answer(200, _encode(views.catalog(site.ledger.catalog, site.clock.now())))


async def metrics(site: Site, _call: Call) -> Answer:
    """What was counted, for Prometheus."""
    await site.telemetry.refresh()
    content_type = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
    return Answer(200, site.telemetry.text(), content_type)
