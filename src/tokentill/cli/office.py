"""Commands of the office: codes, switches, alerts, contacts, webhooks, messages and events."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from tokentill.cli import goods
from tokentill.cli.accounts import Key, Moment, Organization, epoch_ms
from tokentill.cli.frame import DONE, FOUND, Run, Work, command
from tokentill.cli.shop import SALES, Before

Of = Annotated[
    str | None,
    typer.Option(
        "--organization", help="Of this organization; default: the operator's own.", show_default=False
    ),
]
Limit = Annotated[int, typer.Option(help="How many.", min=1, max=500)]


def add(app: typer.Typer) -> None:
    """The commands that stand by themselves."""
    commands: dict[str, Run] = {
        "switch": switch,
        "alerts": alerts,
        "contact": contact,
        "messages": messages,
        "events": events,
    }
    for name, function in commands.items():
        command(app, name, panel=SALES)(function)


def add_codes(app: typer.Typer) -> None:
    """The commands below `codes`."""
    command(app, "create")(create_codes)
    command(app, "redeem")(redeem)
    command(app, "list")(list_codes)
    command(app, "revoke")(revoke_code)


def add_webhooks(app: typer.Typer) -> None:
    """The commands below `webhooks`."""
    command(app, "add")(add_endpoint)
    command(app, "list")(list_endpoints)
    command(app, "remove")(remove_endpoint)


async def create_codes(
    work: Work,
    batch: Annotated[str, typer.Argument(help="What the batch is called.", show_default=False)],
    tokens: Annotated[int, typer.Argument(help="Tokens that each code brings.", show_default=False)],
    count: Annotated[int, typer.Option(help="How many codes.", min=1, max=1000)] = 1,
    title: Annotated[str, typer.Option(help="What customers see; default: the batch.")] = "",
    valid_days: Annotated[
        int | None,
        typer.Option(help="How long the tokens last; default: for ever.", min=1, show_default=False),
    ] = None,
    expires: Moment = None,
    idempotency_key: Key = None,
) -> None:
    """Make redemption codes. They are shown this once; only a digest of each is kept."""
    async with work.till() as till:
        made = await till.create_codes(
            batch,
            tokens,
            count=count,
            title=title,
            valid_days=valid_days,
            expires_at=epoch_ms(expires),
            idempotency_key=idempotency_key,
        )
    work.print(made, lambda: Text("\n".join(made.codes)))


async def redeem(
    work: Work,
    organization: Organization,
    code: Annotated[str, typer.Argument(help="The code, however it is typed.", show_default=False)],
    user: Annotated[str | None, typer.Option(help="Who redeems it.", show_default=False)] = None,
) -> None:
    """Bring the tokens of a code to an organization, once for all."""
    async with work.till() as till:
        found = await till.redeem(organization, code, user=user)
    work.print(found, lambda: goods.purchase(found))


async def list_codes(
    work: Work,
    batch: Annotated[str | None, typer.Argument(help="The batch; default: all.", show_default=False)] = None,
    limit: Limit = 100,
    before: Before = None,
) -> None:
    """List redemption codes without what they are written as."""
    async with work.till() as till:
        found = await till.codes(batch, before=before, limit=limit)
    nothing = "There is no such code yet. Make some: tokentill codes create spring 100"
    work.print(found, lambda: goods.codes(found) if found.codes else nothing)


async def revoke_code(
    work: Work,
    code_id: Annotated[
        str, typer.Argument(help="The code's id, as `codes list` shows it.", show_default=False)
    ],
) -> None:
    """Withdraw a code that was not redeemed yet."""
    async with work.till() as till:
        found = await till.revoke_code(code_id)
    work.print(found, lambda: f"Withdrew the code …{found.shown}.")


async def switch(
    work: Work,
    name: Annotated[
        str | None,
        typer.Argument(
            help="packs, plans, topups, or pack: and its id; nothing: list them.", show_default=False
        ),
    ] = None,
    on: Annotated[bool, typer.Option("--on", help="Sell it again.")] = False,  # noqa: FBT002 a flag
    off: Annotated[bool, typer.Option("--off", help="Stop selling it at once.")] = False,  # noqa: FBT002 a flag
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
) -> None:
    """Stop selling something at once, or begin again. What was bought stays good."""
    if name is None and not (on or off):
        async with work.till() as till:
            every = await till.switches()
        work.print(every, lambda: goods.switches(every))
        return
    if name is None or on == off or not reason:
        raise ValueError("Name the switch, say --on or --off, and why with --reason.")
    async with work.till() as till:
        turned = await till.switch(name, on=on, reason=reason)
    work.print(turned, lambda: goods.switches([turned]))


async def alerts(
    work: Work,
    every: Annotated[bool, typer.Option("--all", help="Also what somebody has seen.")] = False,  # noqa: FBT002 a flag
    seen: Annotated[
        str | None, typer.Option(help="Say that this one has been looked at.", show_default=False)
    ] = None,
    limit: Limit = 100,
    before: Before = None,
) -> None:
    """List what an operator should look at."""
    async with work.till() as till:
        if seen is not None:
            one = await till.see_alert(seen)
            work.print(one, lambda: f"Seen by {one.seen_by}.")
            return
        found = await till.alerts(seen=every, before=before, limit=limit)
    work.print(found, lambda: goods.alerts(found) if found.alerts else "There is nothing to look at.")


async def contact(
    work: Work,
    organization: Organization,
    email: Annotated[str | None, typer.Argument(help="Where its e-mail goes.", show_default=False)] = None,
    name: Annotated[str, typer.Option(help="The person's name.")] = "",
    quiet: Annotated[
        list[str] | None, typer.Option(help="A type of notice that is not wanted.", show_default=False)
    ] = None,
    forget: Annotated[bool, typer.Option("--forget", help="Erase the address.")] = False,  # noqa: FBT002 a flag
) -> None:
    """Show, set or erase where an organization gets its e-mail."""
    if forget and email is not None:
        raise ValueError("Give an address, or --forget, not both.")
    async with work.till() as till:
        if forget:
            await till.forget_contact(organization)
        if email is not None:
            now = await till.set_contact(organization, email, name=name, quiet=quiet or ())
        else:
            now = await till.contact(organization)
    text = "Nobody gets e-mail." if now.email is None else f"{now.email} {', '.join(now.quiet)}".strip()
    work.print(now, lambda: text)


async def add_endpoint(
    work: Work,
    address: Annotated[str, typer.Argument(help="The address, https.", show_default=False)],
    organization: Of = None,
    event: Annotated[
        list[str] | None, typer.Option(help="A type of event; default: all.", show_default=False)
    ] = None,
    idempotency_key: Key = None,
) -> None:
    """Tell an address of what happens. The secret that signs it is shown this once."""
    async with work.till() as till:
        made = await till.add_endpoint(
            address, organization=organization, events=event or (), idempotency_key=idempotency_key
        )
    work.print(made, lambda: Text(f"{made.secret}\n\nThis is shown once. Endpoint {made.id}."))


async def list_endpoints(work: Work, organization: Of = None) -> None:
    """List addresses that get webhooks."""
    async with work.till() as till:
        found = await till.endpoints(organization)
    work.print(found, lambda: goods.endpoints(found) if found else "No address gets webhooks.")


async def remove_endpoint(
    work: Work,
    endpoint: Annotated[str, typer.Argument(help="Its id, as `webhooks list` shows it.", show_default=False)],
    organization: Of = None,
) -> int | None:
    """Tell an address nothing more."""
    async with work.till() as till:
        removed = await till.remove_endpoint(endpoint, organization=organization)
    said = f"Removed {endpoint}." if removed else f"There is no endpoint {endpoint}."
    work.print({"id": endpoint, "removed": removed}, lambda: said)
    return DONE if removed else FOUND


async def messages(
    work: Work,
    state: Annotated[str, typer.Option(help="pending, sent or dead.")] = "dead",
    send: Annotated[str | None, typer.Option(help="Try this one once more.", show_default=False)] = None,
    limit: Limit = 50,
    before: Before = None,
) -> None:
    """List e-mails and webhooks by how they stand, or send one again."""
    async with work.till() as till:
        if send is not None:
            one = await till.send_message(send)
            work.print(one, lambda: f"{one.id} is {one.state} and is sent when the till next looks.")
            return
        found = await till.messages(state, before=before, limit=limit)
    work.print(found, lambda: goods.messages(found) if found.messages else f"No message is {state}.")


async def events(
    work: Work,
    state: Annotated[str, typer.Option(help="new, waiting, done, ignored or dead.")] = "dead",
    retry: Annotated[str | None, typer.Option(help="Try this one once more.", show_default=False)] = None,
    limit: Limit = 50,
    before: Before = None,
) -> None:
    """List events of payment providers by how they stand, or try one again."""
    async with work.till() as till:
        if retry is not None:
            one = await till.retry_event(retry)
            work.print(one, lambda: f"{one.id} is {one.state} and is taken up when the till next looks.")
            return
        found = await till.events(state, before=before, limit=limit)
    work.print(found, lambda: goods.events(found) if found.events else f"No event is {state}.")
