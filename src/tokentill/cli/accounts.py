"""Commands about organizations and their tokens."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer
from msgspec import UNSET
from rich.console import Group

from tokentill.cli import show
from tokentill.cli.frame import Run, Work, command

Organization = Annotated[str, typer.Argument(help="The organization's id.", show_default=False)]
Tokens = Annotated[int, typer.Argument(help="Whole tokens.", show_default=False)]
Reason = Annotated[str | None, typer.Option("--reason", help="Why, for the record.", show_default=False)]
MustReason = Annotated[str, typer.Option("--reason", help="Why, for the record.", show_default=False)]
Key = Annotated[
    str | None,
    typer.Option(
        "--idempotency-key", help="Done once however often it is run with this.", show_default=False
    ),
]
Moment = Annotated[datetime | None, typer.Option(help="UTC.", show_default=False)]
Simulated = Annotated[
    bool, typer.Option("--simulated", help="Its clock stands still until `clock` moves it; for tests.")
]
ACCOUNTS = "Accounts"


class Origin(StrEnum):
    """Where granted tokens come from."""

    GRANT = "grant"
    PACK = "pack"
    BONUS = "bonus"
    CREDIT = "credit"


class When(StrEnum):
    """When a change of plan takes effect."""

    AUTO = "auto"
    NOW = "now"
    PERIOD_END = "period_end"


def epoch_ms(moment: datetime | None) -> int | None:
    """A time of the command line, which is UTC, in epoch milliseconds."""
    return None if moment is None else round(moment.replace(tzinfo=UTC).timestamp() * 1000)


def add_organizations(app: typer.Typer) -> None:
    """The commands below `org`."""
    command(app, "open")(open_organization)
    command(app, "list")(list_organizations)
    command(app, "show")(show_organization)


def add(app: typer.Typer) -> None:
    """The commands about one organization."""
    commands: dict[str, Run] = {
        "balance": balance,
        "journal": journal,
        "grant": grant,
        "adjust": adjust,
        "consume": consume,
        "refund": refund,
        "plan": plan,
        "reset": reset,
        "cap": cap,
        "freeze": freeze,
        "restore": restore,
        "unblock": unblock,
    }
    for name, function in commands.items():
        command(app, name, panel=ACCOUNTS, negative_numbers=function in (adjust, grant, cap))(function)


async def open_organization(
    work: Work,
    organization: Organization,
    plan: Annotated[
        str | None, typer.Option(help="Its plan; default: the catalog's default plan.", show_default=False)
    ] = None,
    no_plan: Annotated[bool, typer.Option("--no-plan", help="Open it without a plan.")] = False,  # noqa: FBT002 a flag
    anchor: Moment = None,
    simulated: Simulated = False,  # noqa: FBT002 a flag
    idempotency_key: Key = None,
) -> None:
    """Open an organization's account."""
    wanted = None if no_plan else (UNSET if plan is None else plan)
    async with work.till(make=True) as till:
        done = await till.open(
            organization,
            plan=wanted,
            anchor=epoch_ms(anchor),
            simulated=simulated,
            idempotency_key=idempotency_key,
        )
        now = await till.balance(organization)
    work.print(done, lambda: Group(f"Opened {organization}.", show.balance(organization, now)))


async def list_organizations(
    work: Work,
    after: Annotated[str, typer.Option(help="Begin after this id.")] = "",
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, max=1000)] = 50,
) -> None:
    """List organizations with their plans and balances."""
    async with work.till() as till:
        names = await till.organizations(after=after, limit=limit)
        balances = {name: await till.balance(name) for name in names}
    columns = ["organization", "plan", "standing", "#remaining", "#reserved", "resets (UTC)"]
    rows = [
        (
            name,
            now.plan,
            now.standing,
            show.number(now.remaining),
            show.number(now.reserved),
            show.moment(now.reset_at),
        )
        for name, now in balances.items()
    ]
    nothing = "There is no organization yet. Open one: tokentill org open acme"
    work.print(balances, lambda: show.table(columns, rows) if rows else nothing)


async def show_organization(work: Work, organization: Organization) -> None:
    """Show an organization: its balance, and which features it may run."""
    async with work.till() as till:
        now = await till.balance(organization)
        features = await till.features(organization)
    work.print(
        {"id": organization, "balance": now, "features": features},
        lambda: Group(show.balance(organization, now), show.features(features.features)),
    )


async def balance(work: Work, organization: Organization) -> None:
    """Show an organization's balance."""
    async with work.till() as till:
        now = await till.balance(organization)
    work.print(now, lambda: show.balance(organization, now))


async def journal(
    work: Work,
    organization: Organization,
    limit: Annotated[int, typer.Option(help="How many entries.", min=1, max=500)] = 20,
    before: Annotated[
        str | None, typer.Option(help="Entries older than this mark.", show_default=False)
    ] = None,
) -> None:
    """Show what happened to an organization's tokens, newest first."""
    async with work.till() as till:
        page = await till.journal(organization, before=before, limit=limit)
    work.print(page, lambda: show.journal(page))


async def grant(
    work: Work,
    organization: Organization,
    tokens: Tokens,
    origin: Annotated[Origin, typer.Option(help="What they are.")] = Origin.GRANT,
    expires: Moment = None,
    reference: Annotated[
        str | None, typer.Option(help="Your reference, such as an invoice.", show_default=False)
    ] = None,
    reason: Reason = None,
    idempotency_key: Key = None,
) -> None:
    """Give an organization tokens."""
    async with work.till() as till:
        done = await till.grant(
            organization,
            tokens,
            origin=origin.value,
            expires_at=epoch_ms(expires),
            reference=reference,
            reason=reason,
            idempotency_key=idempotency_key,
        )
    work.print(done, lambda: show.receipt(done))


async def adjust(
    work: Work, organization: Organization, tokens: Tokens, reason: MustReason, idempotency_key: Key = None
) -> None:
    """Correct a balance by hand, with a reason; a negative number takes tokens away."""
    async with work.till() as till:
        done = await till.adjust(organization, tokens, reason, idempotency_key=idempotency_key)
    work.print(done, lambda: show.receipt(done, taken=tokens < 0))


async def consume(
    work: Work,
    organization: Organization,
    feature: Annotated[str, typer.Argument(help="The feature that was used.", show_default=False)],
    user: Annotated[str | None, typer.Option(help="Who used it.", show_default=False)] = None,
    quantity: Annotated[int, typer.Option(help="How often.", min=1)] = 1,
    tokens: Annotated[
        int | None, typer.Option(help="Tokens of a metered feature.", show_default=False)
    ] = None,
    idempotency_key: Key = None,
) -> None:
    """Charge a use at once, as a program would."""
    async with work.till() as till:
        done = await till.consume(
            organization,
            feature,
            user=user,
            quantity=quantity,
            tokens=tokens,
            idempotency_key=idempotency_key,
        )
    work.print(done, lambda: show.receipt(done))


async def refund(
    work: Work,
    organization: Organization,
    operation: Annotated[str, typer.Argument(help="The operation that was charged.", show_default=False)],
    tokens: Annotated[int | None, typer.Option(help="Default: all of it.", show_default=False)] = None,
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "failed",
) -> None:
    """Give the tokens of a charge back."""
    async with work.till() as till:
        done = await till.refund(organization, operation, tokens=tokens, reason=reason)
    work.print(done, lambda: show.receipt(done))


async def plan(
    work: Work,
    organization: Organization,
    plan: Annotated[str | None, typer.Argument(help="The plan to move to.", show_default=False)] = None,
    cancel: Annotated[bool, typer.Option("--cancel", help="Cancel the plan.")] = False,  # noqa: FBT002 a flag
    when: Annotated[
        When, typer.Option(help="auto: upgrades now, downgrades and cancels at the period's end.")
    ] = When.AUTO,
    idempotency_key: Key = None,
) -> None:
    """Move an organization to another plan, or cancel its plan."""
    if cancel == (plan is not None):
        raise ValueError("Name the plan to move to, or say --cancel, and not both.")
    async with work.till() as till:
        done = await till.plan(organization, plan, when=when.value, idempotency_key=idempotency_key)
    work.print(done, lambda: show.receipt(done))


async def reset(
    work: Work,
    organization: Organization,
    end: Moment = None,
    reason: Reason = None,
    idempotency_key: Key = None,
) -> None:
    """Begin a new period now, as a payment provider does when it bills."""
    async with work.till() as till:
        done = await till.reset(
            organization, end=epoch_ms(end), reason=reason, idempotency_key=idempotency_key
        )
    work.print(done, lambda: show.receipt(done))


async def cap(
    work: Work,
    organization: Organization,
    cap: Annotated[
        int | None, typer.Argument(help="Minor units; nothing: the plan's own.", show_default=False)
    ] = None,
    idempotency_key: Key = None,
) -> None:
    """Set a customer's spending cap for overage."""
    async with work.till() as till:
        done = await till.cap(organization, cap, idempotency_key=idempotency_key)
    work.print(done, lambda: show.receipt(done))


async def freeze(
    work: Work,
    organization: Organization,
    failed: Moment = None,
    reason: Reason = None,
    idempotency_key: Key = None,
) -> None:
    """Record that a payment failed: AI off, tokens set aside until `restore`."""
    async with work.till() as till:
        done = await till.freeze(
            organization, failed_at=epoch_ms(failed), reason=reason, idempotency_key=idempotency_key
        )
    work.print(done, lambda: show.receipt(done))


async def restore(
    work: Work, organization: Organization, reason: Reason = None, idempotency_key: Key = None
) -> None:
    """Record that the payment is fixed: everything back at once."""
    async with work.till() as till:
        done = await till.restore(organization, reason=reason, idempotency_key=idempotency_key)
    work.print(done, lambda: show.receipt(done))


async def unblock(
    work: Work,
    organization: Organization,
    user: Annotated[str, typer.Argument(help="The user's name.", show_default=False)],
    reason: MustReason,
    idempotency_key: Key = None,
) -> None:
    """Lift the block of a user after too many failed attempts."""
    async with work.till() as till:
        done = await till.unblock(organization, user, reason, idempotency_key=idempotency_key)
    work.print(done, lambda: show.receipt(done))
