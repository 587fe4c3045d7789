"""Commands that run the till or look after it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from tokentill import __version__, wiring
from tokentill import settings as settings_table
from tokentill.cli import heads, show
from tokentill.cli.demo import demo
from tokentill.cli.frame import DONE, FOUND, HERE, UNUSABLE, Work, command
from tokentill.ports import Ledger
from tokentill.settings import Settings

SERVING = (
    "secret_file", "host", "port", "drain_seconds", "trusted_proxies", "production", "public_url",
    "embedded_payments", "mail_from", "private_webhooks", "answers_hours", "log_level", "log_format",
)  # fmt: skip


def add(app: typer.Typer) -> None:
    """The commands."""
    command(app, "serve", ("database", "catalog", *SERVING), as_json=False)(serve)
    app.command("demo")(demo)
    command(app, "verify", HERE)(verify)
    command(app, "review")(review)
    command(app, "health")(health)
    shown = tuple(row.name for row in settings_table.table() if row.name not in settings_table.HIDDEN)
    command(app, "settings", shown)(show_settings)
    command(app, "version", ())(version)


def serve(work: Work) -> int | None:
    """Serve the HTTP API. Makes the database at first start; stops quietly on Ctrl+C or SIGTERM."""
    from tokentill.web.serving import new_event_loop

    wiring.log_to_stderr(work.settings)
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(_serve(work.settings))
    except OSError as error:
        where = f"{work.settings.host}:{work.settings.port}"
        remedy = "Choose another with --port, or 0 for a free one."
        show.trouble(f"Cannot listen on {where}.", str(error.strerror or error), remedy)
        return UNUSABLE
    return DONE


async def _serve(settings: Settings) -> None:
    from tokentill.web.serving import serve as serve_app

    async with wiring.open_ledger(settings) as ledger:
        fresh = not await ledger.operator_keys()
        address = wiring.Address(settings)
        shop = wiring.make_shop(settings, ledger, address)
        fit = wiring.make_gatefit(settings, ledger, address)
        app = wiring.build(settings, ledger, shop, fit)
        fit.start()
        shop.clerk.start()

        def ready(url: str) -> None:
            address.listening(url)
            _announce(settings, ledger, url, fresh=fresh)

        try:
            await serve_app(
                app,
                settings.host,
                settings.port,
                drain_seconds=settings.drain_seconds,
                trusted_proxies=settings.trusted_proxies.replace(",", " ").split(),
                ready=ready,
            )
        finally:
            await shop.close()
            await fit.close()


def _announce(settings: Settings, ledger: Ledger, url: str, *, fresh: bool) -> None:
    """Say where the till is, and how to begin where nobody has a key yet."""
    where = settings_table.shown("database", settings.database)
    lines = [
        f"tokentill {__version__} is open at {url}",
        f"  accounts in {where}, selling {ledger.catalog.title}",
    ]
    if fresh:
        usual = Settings()
        option = "" if settings.database == usual.database else f" --database {where}"
        sold = "" if settings.catalog == usual.catalog else f" --catalog {settings.catalog}"
        lines += [
            "",
            "Nobody has an operator key yet. In another terminal make one, shown once, and open an account:",
            f"  tokentill key create me{option}",
            f"  tokentill org open acme{option}{sold}",
        ]
    show.human(Text("\n".join(lines)))


async def verify(
    work: Work,
    head_file: Annotated[
        Path | None,
        typer.Option(
            help="Compare with the heads in this file, and if everything fits put the new ones in their place; "
            "where there is no such file yet it is made. Keep it where nobody who can write to the database can.",
            show_default=False,
        ),
    ] = None,
) -> int | None:
    """Replay the whole journal against what is stored; exit code 1 if anything does not fit."""
    older = None if head_file is None else heads.read(head_file)
    async with work.till() as till:
        found = await till.verify(older)
    if head_file is not None and not found.findings:
        heads.write(head_file, found.heads())
    compared = None if older is None else len(older.accounts)
    facts = {name: getattr(found, name) for name in ("organizations", "entries", "head", "findings")}
    if head_file is not None:
        facts["compared"] = compared
    work.print(facts, lambda: show.verdict(found, head_file, compared))
    return FOUND if found.findings else DONE


async def review(
    work: Work,
    retry: Annotated[bool, typer.Option("--retry", help="Try now to store what waits.")] = False,  # noqa: FBT002 a flag
) -> None:
    """List charges that could not be stored when their operation succeeded, and what became of them."""
    if retry:
        async with work.till() as till:
            await till.recover()
    states = wiring.intents_in(work.settings.spool_folder)
    nothing = "Every charge was stored when its operation succeeded."
    work.print(states, lambda: show.intents(states) if states else nothing)


async def health(work: Work) -> int | None:
    """Say whether the till can charge; exit code 1 if not."""
    async with work.till() as till:
        found = await till.health()
    facts = [("healthy", "yes" if found.ok else "no"), ("engine", found.engine)]
    facts += [("problem", problem) for problem in found.problems]
    work.print(found, lambda: show.table(["", "now"], facts))
    return DONE if found.ok else FOUND


def show_settings(work: Work) -> None:
    """Print the settings in force, without the secret ones."""
    rows = [
        (row.name, row.variable, settings_table.shown(row.name, getattr(work.settings, row.name)))
        for row in settings_table.table()
    ]
    values = {name: shown for name, _, shown in rows}
    work.print(values, lambda: show.table(["setting", "variable", "value"], rows))


def version(work: Work) -> None:
    """Print the version of tokentill."""
    work.print({"version": __version__}, lambda: __version__)
