"""The command line: `tokentill`."""

from __future__ import annotations

import typer

from tokentill.cli import (
    accounts,
    api_keys,
    care,
    handovers,
    keeping,
    lab,
    office,
    reconciling,
    refunds,
    running,
    shop,
)

app = typer.Typer(
    name="tokentill",
    help="A self-hosted till for AI tokens.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _group(name: str, words: str) -> typer.Typer:
    group = typer.Typer(name=name, help=words, no_args_is_help=True)
    app.add_typer(group)
    return group


running.add(app)
accounts.add_organizations(_group("org", "Open, list and show organizations."))
accounts.add(app)
shop.add(app)
office.add_codes(_group("codes", "Make, redeem, list and withdraw redemption codes."))
handovers.add(app)
office.add(app)
care.add(app)
reconciling.add(app)
refunds.add(_group("refunds", "Quote, accept and decide refunds."))
office.add_webhooks(_group("webhooks", "Tell other systems of what happens."))
lab.add(_group("lab", "A Stripe or a PayPal of your own, to try a shop without an account."))
shop.add_stripe(_group("stripe", "Set up a Stripe account."))
keeping.add_catalog(_group("catalog", "Check and show what is sold."))
keeping.add_keys(_group("key", "Make, list and revoke operator keys."))
api_keys.add(_group("api-key", "Keys with which customers call models."))


def main() -> None:
    """Run the command line."""
    app()
