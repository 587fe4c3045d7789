"""The command that shows the product at work."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tokentill import wiring
from tokentill.cli import show

Once = Annotated[bool, typer.Option("--once", help="End afterwards instead of leaving the till open.")]
Whole = Annotated[bool, typer.Option("--whole", help="Replay the whole hour instead of five minutes.")]
Speed = Annotated[
    float | None,
    typer.Option(
        help="How many times as fast as it happened; 6, and with --whole 30.",
        min=1,
        max=1000,
        show_default=False,
    ),
]
Minutes = Annotated[
    int | None, typer.Option(help="How many minutes of the trace; 5.", min=1, max=30, show_default=False)
]
Folder = Annotated[
    Path | None,
    typer.Option(
        help="Keep the demo's files in this folder instead of a temporary one.",
        file_okay=False,
        show_default=False,
    ),
]
Export = Annotated[
    Path | None,
    typer.Option(help="Write the final screen to this file, as SVG.", dir_okay=False, show_default=False),
]


def demo(
    once: Once = False,  # noqa: FBT002 a flag
    whole: Whole = False,  # noqa: FBT002 a flag
    speed: Speed = None,
    minutes: Minutes = None,
    folder: Folder = None,
    export: Export = None,
) -> None:
    """Replay real chat traffic through a till of its own, and reckon up every token. Exit code 1 if one is off."""
    from tokentill.lab.demo.house import House
    from tokentill.lab.demo.screen import WIDTH
    from tokentill.lab.demo.show import Options, Show

    console = Console(highlight=False)
    console.width = min(console.width, WIDTH) if console.is_terminal else show.WIDTH_PIPED
    options = Options(once=once, whole=whole, speed=speed, minutes=minutes, folder=folder, export=export)
    sys.exit(Show(options, House(folder), console, wiring.SystemClock().now, _called()).run())


def _called() -> str:
    """How this command line is called from where the user stands."""
    program = Path(sys.argv[0])
    if shutil.which(program.name) == str(program):
        return program.name
    here = Path.cwd()
    return str(program.relative_to(here) if program.is_relative_to(here) else program)
