"""Commands about the catalog and the operator keys."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Group
from rich.text import Text

from tokentill import wiring
from tokentill.cli import show
from tokentill.cli.frame import DONE, FOUND, Work, command
from tokentill.rules.catalog_file import CatalogError
from tokentill.wiring import CatalogView, PackView


def add_catalog(app: typer.Typer) -> None:
    """The commands below `catalog`."""
    command(app, "check", ())(check)
    command(app, "show", ("catalog", "url", "key"))(show_catalog)


def add_keys(app: typer.Typer) -> None:
    """The commands below `key`."""
    command(app, "create")(create)
    command(app, "list")(list_keys)
    command(app, "revoke")(revoke)


def check(
    work: Work,
    file: Annotated[str, typer.Argument(help="A catalog file, or the name of a preset.", show_default=False)],
) -> int | None:
    """Check a catalog; exit code 1 if it cannot be used. Warnings are printed and let it pass."""
    try:
        catalog, findings = wiring.read_catalog(file)
    except CatalogError as wrong:
        lines = [one.as_text() for one in wrong.problems]
        work.print({"ok": False, "problems": wrong.problems}, lambda: Text("\n".join(lines)))
        return FOUND
    lines = [f"warning: {one.as_text()}" for one in findings]
    lines.append(
        f"{file} can be used: {len(catalog.plans)} plans, {len(catalog.packs)} packs, version {catalog.version}."
    )
    work.print({"ok": True, "version": catalog.version, "warnings": findings}, lambda: Text("\n".join(lines)))
    return DONE


async def show_catalog(work: Work) -> None:
    """Show what is sold: plans, packs and features."""
    if work.settings.url is None:
        view = wiring.catalog_view(wiring.read_catalog(work.settings.catalog)[0], wiring.SystemClock().now())
    else:
        async with work.till() as till:
            view = await till.catalog()
    work.print(view, lambda: _catalog(view))


def _catalog(view: CatalogView) -> Group:
    currency = view.currency
    plans = [
        (
            plan.id,
            plan.title,
            show.money(plan.price, currency),
            "unlimited" if plan.unlimited else show.number(plan.tokens),
            ", ".join(plan.features),
        )
        for plan in view.plans
    ]
    packs = [
        (
            pack.id,
            pack.title,
            _price(pack, currency),
            show.number(pack.tokens) + (f" + {show.number(pack.bonus)}" if pack.bonus else ""),
            pack.per_token,
            "" if pack.saving is None else f"{show.money(pack.saving, currency)} ({pack.saving_percent} %)",
            pack.best_for,
        )
        for pack in view.packs
    ]
    features = [
        (one.id, one.title, one.group, "metered" if one.metered else one.tokens) for one in view.features
    ]
    return Group(
        Text(f"{view.title} (version {view.version}), prices in {currency}", style="bold"),
        show.table(["plan", "title", "#price", f"#{view.unit.many}", "features"], plans),
        show.table(
            ["pack", "title", "#price", f"#{view.unit.many}", "#for each", "#saved", "best for"], packs
        ),
        show.table(["feature", "title", "group", f"#{view.unit.many}"], features),
    )


def _price(pack: PackView, currency: str) -> str:
    """What a pack costs now, and until when where that ends."""
    price = show.money(pack.price, currency)
    if pack.until is None:
        return price
    return f"{price} until {show.moment(pack.until)}, then {show.money(pack.usual_price, currency)}"


async def create(
    work: Work,
    name: Annotated[str, typer.Argument(help="What it is called on the record.", show_default=False)],
) -> None:
    """Make an operator key. Its text is shown this once; only a digest of it is kept."""
    async with work.till(make=True) as till:
        made = await till.create_key(name)
    text = f"{made.key}\n\nThis is shown once. Give it to a client, or to this command line as TOKENTILL_KEY."
    work.print(made, lambda: Text(text))


async def list_keys(work: Work) -> None:
    """List the operator keys, without their secrets."""
    async with work.till() as till:
        found = await till.keys()
    nothing = "There is no operator key yet. Make one: tokentill key create me"
    work.print(found, lambda: show.keys(found) if found else nothing)


async def revoke(
    work: Work,
    key_id: Annotated[str, typer.Argument(help="The key's id, as `key list` shows it.", show_default=False)],
) -> int | None:
    """Revoke an operator key; it is refused within a second, everywhere."""
    async with work.till() as till:
        revoked = await till.revoke_key(key_id)
    said = f"Revoked {key_id}." if revoked else f"There is no operator key {key_id} that could be revoked."
    work.print({"id": key_id, "revoked": revoked}, lambda: Text(said))
    return DONE if revoked else FOUND
