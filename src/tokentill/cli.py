"""The command line: `tokentill`."""

import typer

from tokentill import __version__

app = typer.Typer(name="tokentill", no_args_is_help=True, add_completion=False)


@app.callback()
def root() -> None:
    """A self-hosted till for AI tokens."""


@app.command()
def version() -> None:
    """Print the version of tokentill."""
    typer.echo(__version__)


def main() -> None:
    """Run the command line."""
    app()
