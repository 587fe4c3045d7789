"""Reference: the page `docs/reference/cli.md`, rendered from the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Any

import typer

from tokentill import settings
from tokentill.cli import frame

_HEAD = """\
# Command line

<!-- Rendered from tokentill.cli; a test holds it in step. -->

`tokentill COMMAND` works on the database itself, by default `tokentill.db` in the current folder. With
`--url` and `--key` (or `TOKENTILL_URL` and `TOKENTILL_KEY`) the same command works over HTTP on a running
till. Both may be used at the same time.

Every command but `serve` and `demo` takes `--json`, for programs: it prints one JSON value on standard output, a
refusal as `{"refused": …}`. What went wrong is said in words on standard error.

| exit code | meaning |
|---|---|
"""

_CODES = {
    frame.DONE: "done",
    frame.FOUND: "a check found something: `verify`, `health`, `catalog check`, or nothing to revoke",
    frame.USAGE: "the command line is not right",
    frame.REFUSED: "the till refused; nothing was changed",
    frame.UNREACHABLE: "the database or the server cannot be reached; whether something was changed is not known",
    frame.UNUSABLE: "a setting, the catalog or the operator key cannot be used",
    frame.INTERRUPTED: "interrupted from the keyboard",
}


def page(app: typer.Typer) -> str:
    """The whole page."""
    parts = [_HEAD.rstrip("\n")]
    parts += [f"| {code} | {meaning} |" for code, meaning in _CODES.items()]
    for path, command in _commands("tokentill", typer.main.get_command(app)):
        parts += ["", *_section(path, command)]
    return "\n".join(parts) + "\n"


def _commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Every command that does something, with the words that call it."""
    below = getattr(command, "commands", None)
    if below is None:
        yield path, command
        return
    for name, one in below.items():
        yield from _commands(f"{path} {name}", one)


def _section(path: str, command: Any) -> list[str]:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    own = [one for one in command.params if one.param_type_name == "option" and not _is_common(one)]
    where = [f"--{one.name.replace('_', '-')}" for one in command.params if _is_common(one)]
    words = "".join(f" {one.name.upper()}" if one.required else f" [{one.name.upper()}]" for one in arguments)
    lines = [f"## `{path}{words}`", "", (command.help or "").strip()]
    rows = [f"| `{one.name.upper()}` | {_help(one)} |" for one in arguments]
    rows += [f"| {_option(one)} | {_help(one)} |" for one in own]
    if rows:
        lines += ["", "| argument or option | |", "|---|---|", *rows]
    if where:
        lines += ["", f"Settings ([reference](settings.md)): {', '.join(f'`{one}`' for one in where)}."]
    return lines


def _is_common(parameter: Any) -> bool:
    return parameter.param_type_name == "option" and any(
        row.name == parameter.name for row in settings.table()
    )


def _option(parameter: Any) -> str:
    flags = ", ".join(f"`{flag}`" for flag in parameter.opts)
    return f"{flags} (required)" if parameter.required else flags


def _help(parameter: Any) -> str:
    text = (parameter.help or "").strip()
    default = parameter.default
    if isinstance(default, Enum):
        text += f" One of {', '.join(f'`{one.value}`' for one in type(default))}."
        default = default.value
    if default not in (None, False, ""):
        text += f" Default `{default}`."
    return text
