"""Commands about refunds."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from tokentill.cli import show
from tokentill.cli.accounts import Key, Moment, Organization, epoch_ms
from tokentill.cli.frame import Work, command
from tokentill.cli.shop import Before
from tokentill.rules.money import format_amount
from tokentill.wiring import refund_views as r

RefundId = Annotated[str, typer.Argument(help="The refund's id.", show_default=False)]
PurchaseId = Annotated[str, typer.Argument(help="The purchase's id.", show_default=False)]
Why = Annotated[str, typer.Option(help="Why; it stands on the record.", show_default=False)]


def add(app: typer.Typer) -> None:
    """The commands below `refunds`."""
    command(app, "reasons")(reasons)
    command(app, "quote")(quote)
    command(app, "accept")(accept)
    command(app, "withdraw")(withdraw)
    command(app, "show")(show_refund)
    command(app, "list")(list_refunds)
    command(app, "queue")(queue)
    command(app, "approve")(approve)
    command(app, "deny")(deny)
    command(app, "adjust")(adjust)
    command(app, "report")(report)


async def reasons(work: Work, organization: Organization, purchase: PurchaseId) -> None:
    """Show the reasons that the till sees by itself; the customer states one of them, another one, or none."""
    async with work.till() as till:
        found = await till.refund_reasons(organization, purchase)
    work.print(found, lambda: "\n".join(f"{one.reason}: {one.why}" for one in found) or "It sees none.")


async def quote(
    work: Work,
    organization: Organization,
    purchase: PurchaseId,
    reason: Annotated[
        str | None,
        typer.Option(
            help="technical, quality, unused or first_time; the guarantee asks for none.", show_default=False
        ),
    ] = None,
    text: Annotated[str, typer.Option(help="The customer's own words.")] = "",
    region: Annotated[
        str | None,
        typer.Option(help="Where the customer lives, for a right of withdrawal.", show_default=False),
    ] = None,
    idempotency_key: Key = None,
) -> None:
    """Show what could be given back for a purchase: the money first, then what else there is."""
    async with work.till() as till:
        found = await till.quote_refund(
            organization, purchase, reason, text=text, region=region, idempotency_key=idempotency_key
        )
    work.print(found, lambda: _quote(found))


async def accept(
    work: Work,
    organization: Organization,
    refund: RefundId,
    choice: Annotated[str, typer.Argument(help="cash, bonus, credit or upgrade.")] = "cash",
    item: Annotated[
        str | None, typer.Option(help="The larger pack of an upgrade.", show_default=False)
    ] = None,
    payer: Annotated[
        str | None,
        typer.Option(
            help="Charge this saved method for a larger pack, as `payment-methods` lists it.",
            show_default=False,
        ),
    ] = None,
    use_credit: Annotated[  # noqa: FBT002 a flag
        bool,
        typer.Option("--use-credit", help="Pay for the larger pack with money credit as far as it reaches."),
    ] = False,
) -> None:
    """Take one of the options. A quote that is stale is shown anew, and nothing is done."""
    async with work.till() as till:
        found = await till.accept_refund(
            organization, refund, choice, item=item, payer=payer, use_credit=use_credit
        )
    work.print(found, lambda: _quote(found) if found.state == "quoted" else _stands(found))


async def withdraw(work: Work, organization: Organization, refund: RefundId) -> None:
    """Leave a refund before any money has moved."""
    async with work.till() as till:
        found = await till.withdraw_refund(organization, refund)
    work.print(found, lambda: _stands(found))


async def show_refund(work: Work, organization: Organization, refund: RefundId) -> None:
    """Show a refund and where it stands."""
    async with work.till() as till:
        found = await till.refund_of(organization, refund)
    work.print(found, lambda: _quote(found))


async def list_refunds(
    work: Work,
    organization: Organization,
    limit: Annotated[int, typer.Option(help="How many.", min=1, max=500)] = 50,
    before: Before = None,
) -> None:
    """List every quote that an organization was shown, and what became of it."""
    async with work.till() as till:
        found = await till.refunds(organization, before=before, limit=limit)
    work.print(found, lambda: _table(found.refunds))


async def queue(
    work: Work,
    state: Annotated[str, typer.Option(help="Refunds that stand so.")] = "waiting",
    limit: Annotated[int, typer.Option(help="How many.", min=1, max=500)] = 50,
    before: Before = None,
) -> None:
    """List the refunds of all organizations that wait for an operator."""
    async with work.till() as till:
        found = await till.refund_queue(state, before=before, limit=limit)
    work.print(found, lambda: _queue(found.cases))


async def approve(work: Work, organization: Organization, refund: RefundId, reason: Why) -> None:
    """Agree to a refund that waits; above the second limit another operator must agree too."""
    async with work.till() as till:
        found = await till.approve_refund(organization, refund, reason)
    work.print(found, lambda: _stands(found.refund))


async def deny(work: Work, organization: Organization, refund: RefundId, reason: Why) -> None:
    """Refuse a refund that waits; its tokens come back. One that went back in part is left at that part."""
    async with work.till() as till:
        found = await till.deny_refund(organization, refund, reason)
    work.print(found, lambda: _stands(found.refund))


async def adjust(
    work: Work,
    organization: Organization,
    refund: RefundId,
    amount: Annotated[int, typer.Argument(help="Minor units of money or credit.", min=1, show_default=False)],
    reason: Why,
) -> None:
    """Agree to another amount of money or credit; of one that went back in part the rest becomes credit."""
    async with work.till() as till:
        found = await till.adjust_refund(organization, refund, amount, reason)
    work.print(found, lambda: _stands(found.refund))


async def report(work: Work, since: Moment = None) -> None:
    """Show refund rates by pack or plan, segment and sales approach."""
    async with work.till() as till:
        found = await till.refund_report(since=epoch_ms(since) or 0)
    work.print(found, lambda: _report(found))


def _quote(found: r.RefundView) -> Text:
    """The arithmetic, then what can be chosen, the money first."""
    lines = [found.title, found.text, "", *found.explained]
    if found.refused_text:
        lines.append(found.refused_text)
    for option in found.options:
        worth = format_amount(option.worth, found.currency)
        better = "; worth more to you" if option.recommended else ""
        name = " ".join(filter(None, (option.choice, option.item)))
        lines.append(f"  {name}: {option.text} (worth {worth}{better})")
    holds = f", holds until {show.moment(found.valid_until)} UTC" if found.state == "quoted" else ""
    return Text("\n".join([*lines, "", f"{found.id}: {found.state}{holds}"]))


def _stands(found: r.RefundView) -> Text:
    given = [format_amount(found.money, found.currency)] if found.money else []
    given += [f"{format_amount(found.credit, found.currency)} as credit"] if found.credit else []
    given += [f"{found.tokens} tokens"] if found.tokens else []
    said = f"{found.id}: {found.state}" + (f", {' and '.join(given)}" if given else "")
    said += f" ({found.problem})" if found.problem else ""
    if found.given and found.state == "waiting":
        gone = format_amount(found.given, found.currency)
        said += f". {gone} went back and the rest was refused: approve asks again, adjust makes it credit"
        said += ", deny leaves it at that"
    return Text(f"{said}. Pay purchase {found.upgrade}." if found.state == "buying" else f"{said}.")


def _table(found: tuple[r.RefundView, ...]) -> Table | str:
    if not found:
        return "There is none."
    table = Table("refund", "organization", "purchase", "state", "reason", "choice", "amount", box=None)
    for one in found:
        amount = format_amount(one.money + one.credit if one.choice else one.amount, one.currency)
        table.add_row(
            one.id, one.organization, one.purchase, _state(one), one.reason or "", one.choice or "", amount
        )
    return table


def _queue(found: tuple[r.CaseView, ...]) -> Group | str:
    """The refunds, and of each who must agree, what the customer said and what was seen."""
    if not found:
        return "There is none."
    said = []
    for case in found:
        words = (f"“{case.refund.said}”",) if case.refund.said else ()
        needs = case.needs.replace("_", " ")
        said.append(" ".join((f"{case.refund.id}: needs {needs}.", *case.seen, *words)))
    return Group(_table(tuple(case.refund for case in found)), Text("\n".join(said)))


def _state(one: r.RefundView) -> str:
    """How it stands; of one that went back in part, how much of it that was."""
    part = one.state == "waiting" and one.given
    return f"{one.state}, {format_amount(one.given, one.currency)} is back" if part else one.state


def _report(found: r.RefundReport) -> Table | str:
    if not found.shares:
        return "Nothing was bought."
    table = Table("by", "", "purchases", "refunded", "rate", box=None)
    for one in found.shares:
        rate = f"{100 * one.refunds / one.purchases:.1f} %"
        table.add_row(one.by, one.name, str(one.purchases), str(one.refunds), rate)
    return table
