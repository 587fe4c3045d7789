"""Commands about customers' keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from tokentill.cli import show
from tokentill.cli.accounts import Key, Moment, Organization, epoch_ms
from tokentill.cli.frame import Work, command
from tokentill.rules.durations import HOUR_MS
from tokentill.wiring import key_views as k

KeyId = Annotated[str, typer.Argument(help="The key's id, as `api-key list` shows it.", show_default=False)]


def add(app: typer.Typer) -> None:
    """The commands below `api-key`."""
    command(app, "create")(create)
    command(app, "list")(list_keys)
    command(app, "rotate")(rotate)
    command(app, "limit")(limit)
    command(app, "revoke")(revoke)


async def create(  # noqa: PLR0913, PLR0917 each is a term of the key
    work: Work,
    organization: Organization,
    name: Annotated[str, typer.Argument(help="What it is called.", show_default=False)],
    user: Annotated[
        str | None,
        typer.Option(help="On whose behalf it calls; default: the key itself.", show_default=False),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Only for this model; may be repeated.", show_default=False)
    ] = None,
    feature: Annotated[
        list[str] | None, typer.Option(help="Only for this feature; may be repeated.", show_default=False)
    ] = None,
    read_only: Annotated[  # noqa: FBT002 a flag
        bool, typer.Option("--read-only", help="It may ask for the balance and the models only.")
    ] = False,
    spend_max: Annotated[
        int | None,
        typer.Option(
            help="Tokens it may spend in all, with the keys that replace it.", min=0, show_default=False
        ),
    ] = None,
    expires: Moment = None,
    idempotency_key: Key = None,
) -> None:
    """Make a key with which a customer calls models. Its text is shown this once; only a digest of it is kept."""
    async with work.till() as till:
        made = await till.create_api_key(
            organization,
            name,
            user=user,
            models=model or (),
            features=feature or (),
            read_only=read_only,
            spend_max=spend_max,
            expires_at=epoch_ms(expires),
            idempotency_key=idempotency_key,
        )
    work.print(made, lambda: _made(made))


async def list_keys(work: Work, organization: Organization) -> None:
    """List the keys of an organization, without their secrets."""
    async with work.till() as till:
        found = await till.api_keys(organization)
    nothing = f"There is no key yet. Make one: tokentill api-key create {organization} server"
    work.print(found, lambda: _table(found) if found else nothing)


async def rotate(
    work: Work,
    organization: Organization,
    key_id: KeyId,
    overlap_hours: Annotated[
        int, typer.Option(help="How long the old key goes on working.", min=0, max=720)
    ] = 0,
    idempotency_key: Key = None,
) -> None:
    """Replace a key by a new one, shown this once."""
    async with work.till() as till:
        overlap_ms = overlap_hours * HOUR_MS
        made = await till.rotate_api_key(
            organization, key_id, overlap_ms=overlap_ms, idempotency_key=idempotency_key
        )
    work.print(made, lambda: _made(made))


async def limit(
    work: Work,
    organization: Organization,
    key_id: KeyId,
    spend_max: Annotated[
        int | None,
        typer.Option(
            help="Tokens it may spend in all; without it, as many as there are.", min=1, show_default=False
        ),
    ] = None,
) -> None:
    """Say what a key may spend in all, from its next call on. Keys that replaced one another share one count."""
    async with work.till() as till:
        found = await till.limit_api_key(organization, key_id, spend_max)
    said = "as many tokens as there are" if found.spend_max is None else f"{found.spend_max:,} tokens in all"
    work.print(found, lambda: f"The key …{found.shown} may spend {said}.")


async def revoke(work: Work, organization: Organization, key_id: KeyId) -> None:
    """Revoke a key; it is refused from its next request on, everywhere."""
    async with work.till() as till:
        found = await till.revoke_api_key(organization, key_id)
    work.print(found, lambda: f"Revoked the key …{found.shown}.")


def _made(made: k.NewKey) -> Text:
    return Text(f"{made.text}\n\nThis is shown once. Programs present it to the endpoint as their API key.")


def _table(found: Sequence[k.KeyView]) -> Table:
    rows = [
        (
            one.id,
            f"…{one.shown}",
            one.name,
            ", ".join((*one.models, *one.features)) or ("reading" if one.read_only else "everything"),
            "" if one.spend_max is None else f"{one.spent:,} of {one.spend_max:,}",
            show.moment(one.created_at),
            show.moment(one.used_at),
            show.moment(one.expires_at),
            show.moment(one.revoked_at),
        )
        for one in found
    ]
    return show.table(
        ["id", "key", "name", "for", "spent", "made (UTC)", "last used", "expires", "revoked"], rows
    )
