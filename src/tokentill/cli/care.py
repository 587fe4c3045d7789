"""Commands about customers' questions and what they say."""

from __future__ import annotations

import typer
from rich.console import Group
from rich.text import Text

from tokentill.cli.accounts import Organization
from tokentill.cli.frame import Work, command
from tokentill.cli.shop import SALES


def add(app: typer.Typer) -> None:
    """The commands."""
    command(app, "faq", panel=SALES)(faq)


async def faq(work: Work, organization: Organization) -> None:
    """Show what monthly and additional tokens are, and what customers ask about them."""
    async with work.till() as till:
        found = await till.faq(organization)
    lines = [
        line for one in found.faq for line in (Text(one.question, style="bold"), Text(one.answer), Text(""))
    ]
    work.print(found, lambda: Group(*lines[:-1]))
