"""Commands about customers' questions, what they say, and what a month has left."""

from __future__ import annotations

from typing import Annotated, cast

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from tokentill.cli import show
from tokentill.cli.accounts import Key, Organization
from tokentill.cli.frame import DONE, FOUND, Run, Work, command
from tokentill.cli.shop import SALES
from tokentill.wiring import MarginReport, Topic

Words = Annotated[str, typer.Option("--text", help="The customer's words.")]
Purchase = Annotated[str | None, typer.Option(help="The purchase it is about.", show_default=False)]


def add(app: typer.Typer) -> None:
    """The commands."""
    commands: dict[str, Run] = {
        "faq": faq, "rate": rate, "ticket": ticket, "feedback": feedback, "forget": forget, "margin": margin,
    }  # fmt: skip
    for name, function in commands.items():
        command(app, name, panel=SALES)(function)


async def faq(work: Work, organization: Organization) -> None:
    """Show what monthly and additional tokens are, and what customers ask about them."""
    async with work.till() as till:
        found = await till.faq(organization)
    lines = [
        line for one in found.faq for line in (Text(one.question, style="bold"), Text(one.answer), Text(""))
    ]
    work.print(found, lambda: Group(*lines[:-1]))


async def rate(
    work: Work,
    organization: Organization,
    score: Annotated[int, typer.Argument(help="1 to 5.", min=1, max=5, show_default=False)],
    text: Words = "",
    purchase: Purchase = None,
    idempotency_key: Key = None,
) -> None:
    """Keep how satisfied a customer is."""
    async with work.till() as till:
        kept = await till.rate(organization, score, text, purchase=purchase, idempotency_key=idempotency_key)
    work.print(kept, lambda: f"Kept: {kept.score} of 5.")


async def ticket(
    work: Work,
    organization: Organization,
    topic: Annotated[str, typer.Argument(help="tokens, payment, refund or other.", show_default=False)],
    text: Words = "",
    purchase: Purchase = None,
    idempotency_key: Key = None,
) -> None:
    """Keep that a customer asked for support."""
    about = cast("Topic", topic)
    async with work.till() as till:
        kept = await till.ticket(
            organization, about, text, purchase=purchase, idempotency_key=idempotency_key
        )
    work.print(kept, lambda: f"Kept: a ticket about {kept.topic}.")


async def feedback(work: Work) -> None:
    """Show ratings with their average, and tickets, month by month."""
    async with work.till() as till:
        found = await till.feedback_months()
    rows = [
        (
            one.month,
            one.ratings,
            one.average or "",
            ", ".join(f"{n} {topic}" for topic, n in one.tickets.items()),
        )
        for one in found
    ]
    nothing = "Nobody has said anything yet. tokentill rate and tokentill ticket keep what customers say."
    work.print(
        found, lambda: show.table(["month", "#ratings", "#average", "tickets"], rows) if rows else nothing
    )


async def forget(
    work: Work,
    organization: Organization,
    user: Annotated[
        str | None, typer.Option(help="Erase this user's name instead.", show_default=False)
    ] = None,
) -> None:
    """Erase what a customer wrote with ratings, tickets and refunds, or the name of one user."""
    async with work.till() as till:
        if user is None:
            found = await till.forget_words(organization)
        else:
            found = await till.forget_user(organization, user)
    work.print({"erased": found}, lambda: "Erased." if found else "There was nothing to erase.")


async def margin(
    work: Work,
    month: Annotated[
        str | None, typer.Argument(help="Such as 2026-03; default: the present one.", show_default=False)
    ] = None,
    organization: Annotated[
        str | None, typer.Option(help="Of this organization; default: all.", show_default=False)
    ] = None,
) -> int | None:
    """Show what plans and packs have left in a month; exit code 1 if a plan leaves too little."""
    async with work.till() as till:
        found = await till.margin(month, organization=organization)
    work.print(found, lambda: _margin(found))
    return FOUND if found.remedies else DONE


WORDS = {
    "deferred": "what was paid in this month for plans and overage, less what this month has earned of them.",
    "refund": "what went back in this month, whenever it had been paid.",
}
"""What lines of money that belongs to other months mean."""


def _margin(found: MarginReport) -> Group:
    code = found.currency
    rows = [
        (
            one.kind, one.item, one.payments or "", show.money(one.revenue, code), show.number(one.tokens),
            show.money(one.cost, code), show.money(one.gross, code), show.money(one.net, code),
            "" if one.per_payment is None else show.money(one.per_payment, code),
            "" if one.margin_min is None else f"> {show.money(one.margin_min, code)}",
        )
        for one in found.lines
    ]  # fmt: skip
    columns = [
        "", "", "#payments", "#revenue", "#tokens", "#cost", "#margin", "#after fees", "#of a payment", "#wanted",
    ]  # fmt: skip
    state = "" if found.closed else ", summed just now"
    parts: list[Table | Text] = [
        Text(f"{found.month}: {found.organizations} organizations{state}", style="bold"),
        show.table(columns, rows),
    ]
    parts += [
        Text(f"{kind}: {what}") for kind, what in WORDS.items() if kind in {one.kind for one in found.lines}
    ]
    parts += [Text(line, style="yellow") for line in found.remedies]
    if found.below:
        parts.append(Text(f"Too little was left at: {', '.join(found.below)}"))
    return Group(*parts)
