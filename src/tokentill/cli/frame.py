"""Frame: what every command of the command line shares.

A command is an async function of a `Work` and its own arguments. `command` gives it the options that all
have (which database or which server, `--json`), runs it, and turns what went wrong into words and an exit
code:

    0  done
    1  the check found something (`verify`, `catalog check`)
    2  the command line is not right
    3  the till refused; nothing was changed
    4  the database or the server cannot be reached; whether something was changed is not known
    5  a setting, the catalog or the operator key cannot be used
"""

from __future__ import annotations

import asyncio
import copy
import functools
import getpass
import inspect
import os
import re
import sys
import typing
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from tokentill import settings as settings_table
from tokentill import wiring
from tokentill.cli import show
from tokentill.client import Fault, NotAllowed, NotHere, Refused, StoreDown, Till
from tokentill.rules.catalog_file import CatalogError
from tokentill.settings import Settings, SettingsError

DONE, FOUND, USAGE, REFUSED, UNREACHABLE, UNUSABLE = range(6)
INTERRUPTED = 130

HERE = ("database", "catalog", "secret_file", "spool")
THERE = ("url", "key")
WHOLE = re.compile(r"-?[0-9]{1,40}")
WHERE_PANEL = "Where the till is"

Run = (
    Callable[..., Coroutine[Any, Any, int | None]]
    | Callable[..., Coroutine[Any, Any, None]]
    | Callable[..., int | None]
)


class Work:
    """One run of a command: the settings in force, the till they lead to, and where to print."""

    def __init__(self, given: dict[str, object], as_json: bool) -> None:  # noqa: FBT001 the frame alone calls it
        self.settings: Settings = settings_table.load(os.environ, given)
        self.given = given
        self.json = as_json

    @asynccontextmanager
    async def till(self, *, make: bool = False) -> AsyncIterator[Till]:
        """The till: over HTTP where a URL is set, else on the database itself; `make` it if there is none."""
        if self.settings.url is not None:
            async with Till.connect(
                self.settings.url, self.settings.key, spool=self.settings.spool_folder
            ) as there:
                yield there
            return
        if not make:
            self._find_database()
        ledger = await wiring.make_ledger(self.settings)
        secret = wiring.secret_of(self.settings)
        actor = f"cli:{getpass.getuser()}"
        shop = functools.partial(wiring.shop_of, self.settings, ledger)
        async with Till.over(ledger, secret, self.settings.spool_folder, actor=actor, open_shop=shop) as here:
            yield here

    def _find_database(self) -> None:
        """Raise `SettingsError` where there is no database, so that a slip of the pen does not make one."""
        database = self.settings.database
        if not self.settings.postgres and not Path(database).exists():
            raise SettingsError(
                f"There is no database {database} yet. Name another with --database, or make this one: "
                "tokentill serve, or tokentill org open acme."
            )

    def print(self, value: object, human: Callable[[], object]) -> None:
        """The value as JSON where that was asked for, else what `human` makes of it."""
        if self.json:
            show.as_json(value)
        else:
            show.human(human())


def _common(ways: tuple[str, ...], *, as_json: bool) -> list[inspect.Parameter]:
    """The options that a command has beside its own."""
    options = []
    for row in settings_table.table():
        if row.name in ways:
            flag = f"--{row.name.replace('_', '-')}"
            help_text = f"{row.help} ({row.variable})"
            option = typer.Option(flag, help=help_text, rich_help_panel=WHERE_PANEL, show_default=False)
            kind = Annotated[int | None, option] if row.type == "number" else Annotated[str | None, option]
            options.append(_parameter(row.name, kind, None))
    if as_json:
        option = typer.Option("--json", help="Print JSON for programs.", show_default=False)
        options.append(_parameter("as_json", Annotated[bool, option], default=False))
    return options


def whole(least: float | None, most: float | None) -> Callable[[str | int], int]:
    """A reader of whole numbers in plain digits: not `1.0`, `+7`, `10_000` or ` 7`, which a slip of the pen writes."""

    def read(given: str | int) -> int:
        if isinstance(given, str) and WHOLE.fullmatch(given) is None:
            raise typer.BadParameter(f"{given!r} is not a whole number in plain digits, like 2500.")
        number = int(given)
        if least is not None and number < least:
            raise typer.BadParameter(f"{number} is too small: {least} at least.")
        if most is not None and number > most:
            raise typer.BadParameter(f"{number} is too large: {most} at most.")
        return number

    return read


def _strict(parameter: inspect.Parameter) -> inspect.Parameter:
    """The parameter, and if it is a number, read by `whole`."""
    kind, *more = typing.get_args(parameter.annotation) or (parameter.annotation,)
    if int not in (kind, *typing.get_args(kind)) or not more:
        return parameter
    told = copy.copy(more[0])
    told.parser = whole(told.min, told.max)
    return parameter.replace(annotation=Annotated[kind, told])


def _parameter(name: str, kind: object, default: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def command(
    app: typer.Typer,
    name: str,
    ways: tuple[str, ...] = (*HERE, *THERE),
    *,
    panel: str | None = None,
    as_json: bool = True,
    negative_numbers: bool = False,
) -> Callable[[Run], Run]:
    """Make a command of a function whose first argument is a `Work`; `ways` are the settings it takes.

    `negative_numbers`: an argument may be one, which otherwise reads like an option.
    """

    def register(function: Run) -> Run:
        signature = inspect.signature(function, eval_str=True)
        own = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in list(signature.parameters.values())[1:]
        ]
        parameters = [_strict(one) for one in [*own, *_common(ways, as_json=as_json)]]

        @functools.wraps(function)
        def run(**values: Any) -> None:
            json = values.pop("as_json", False)
            given = {name: values.pop(name) for name in ways}
            sys.exit(guarded(lambda: _run(function, given, values, json), json))

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        context = {"ignore_unknown_options": True} if negative_numbers else None
        app.command(name, rich_help_panel=panel, context_settings=context)(run)
        return function

    return register


def _run(function: Run, given: dict[str, object], values: dict[str, Any], as_json: bool) -> int | None:  # noqa: FBT001 see Work
    work = Work(given, as_json)
    wiring.log_to_stderr(work.settings, quiet=True)
    answer = function(work, **values)
    if not inspect.isawaitable(answer):
        return answer

    async def wait() -> int | None:
        return await answer

    return asyncio.run(wait())


def guarded(run: Callable[[], int | None], as_json: bool) -> int:  # noqa: FBT001 see Work
    """The exit code of `run`, with what went wrong in words on standard error."""
    try:
        return run() or DONE
    except Refused as refused:
        if as_json:
            show.as_json({"refused": show.whole(refused.refusal)})
        else:
            show.refusal(refused.refusal)
        return REFUSED
    except StoreDown as down:
        show.trouble("The till cannot be reached, or cannot store.", str(down))
        return UNREACHABLE
    except Fault as fault:
        show.trouble("The till gave an answer that cannot be used.", str(fault))
        return UNREACHABLE
    except NotAllowed as denied:
        show.trouble(
            "The operator key was not accepted.", str(denied), "Give it with --key or TOKENTILL_KEY."
        )
        return UNUSABLE
    except SettingsError as wrong:
        show.trouble("A setting cannot be used.", str(wrong))
        return UNUSABLE
    except CatalogError as wrong:
        show.trouble("The catalog cannot be used.", "\n".join(one.as_text() for one in wrong.problems))
        return UNUSABLE
    except (NotHere, ValueError) as wrong:
        show.trouble("That cannot be done.", str(wrong))
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
