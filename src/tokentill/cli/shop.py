"""Commands about selling: offers, purchases, subscriptions, top-ups and the test clock."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from tokentill import wiring
from tokentill.cli import goods, show
from tokentill.cli.accounts import Key, Moment, Organization, epoch_ms
from tokentill.cli.frame import Run, Work, command
from tokentill.rules.catalog import DAY_MS

SALES = "Sales"

Before = Annotated[
    str | None,
    typer.Option(help="Ones older than this mark, which the page before ended with.", show_default=False),
]
Provider = Annotated[
    str | None,
    typer.Option(help="stripe, paypal or embedded; default: the first set up.", show_default=False),
]
Email = Annotated[str | None, typer.Option(help="The customer's address.", show_default=False)]
OneClick = Annotated[bool, typer.Option("--one-click", help="Charge the saved method that was used last.")]
SaveMethod = Annotated[bool, typer.Option("--save-method", help="The customer agrees to save the method.")]
UseCredit = Annotated[bool, typer.Option("--use-credit", help="Pay with money credit as far as it reaches.")]
Waive = Annotated[
    bool,
    typer.Option("--waive-withdrawal", help="The customer agrees to give up the right of withdrawal."),
]
Purchase = Annotated[str, typer.Argument(help="The purchase's id.", show_default=False)]


def add(app: typer.Typer) -> None:
    """The commands."""
    commands: dict[str, Run] = {
        "packs": packs,
        "buy": buy,
        "purchases": purchases,
        "purchase": purchase,
        "subscribe": subscribe,
        "subscription": subscription,
        "topup": topup,
        "payment-methods": payment_methods,
        "portal": portal,
        "clock": clock,
    }
    for name, function in commands.items():
        command(app, name, panel=SALES)(function)


def add_stripe(app: typer.Typer) -> None:
    """The commands below `stripe`."""
    command(app, "sync-prices", ("catalog",))(sync_prices)


async def packs(
    work: Work,
    organization: Organization,
    promo: Annotated[str | None, typer.Option(help="A promotion code.", show_default=False)] = None,
    missing: Annotated[int, typer.Option(help="Tokens that an operation at hand lacks.", min=0)] = 0,
) -> None:
    """Show the packs as an organization's customer sees them, and which is recommended."""
    async with work.till() as till:
        found = await till.packs(organization, promo=promo, missing=missing)
    work.print(found, lambda: goods.packs(found))


async def buy(  # noqa: PLR0913, PLR0917 each is a term of the order
    work: Work,
    organization: Organization,
    pack: Annotated[str | None, typer.Argument(help="The pack.", show_default=False)] = None,
    plan: Annotated[
        str | None, typer.Option(help="Begin this plan instead of buying a pack.", show_default=False)
    ] = None,
    promo: Annotated[str | None, typer.Option(help="A promotion code.", show_default=False)] = None,
    provider: Provider = None,
    one_click: OneClick = False,  # noqa: FBT002 a flag
    payer: Annotated[
        str | None,
        typer.Option(help="Charge this saved method, as `payment-methods` lists it.", show_default=False),
    ] = None,
    save_method: SaveMethod = False,  # noqa: FBT002 a flag
    use_credit: UseCredit = False,  # noqa: FBT002 a flag
    waive_withdrawal: Waive = False,  # noqa: FBT002 a flag
    user: Annotated[str | None, typer.Option(help="Who buys it.", show_default=False)] = None,
    email: Email = None,
    idempotency_key: Key = None,
) -> None:
    """Order a pack or a plan; prints where the customer pays."""
    if (pack is None) == (plan is None):
        raise ValueError("Name the pack to buy, or a plan with --plan, and not both.")
    async with work.till() as till:
        made = await till.buy(
            organization,
            pack,
            plan=plan,
            promo=promo,
            provider=provider,
            one_click=one_click,
            payer=payer,
            save_method=save_method,
            use_credit=use_credit,
            withdrawal_waived=waive_withdrawal,
            user=user,
            email=email,
            idempotency_key=idempotency_key,
        )
    work.print(made, lambda: goods.purchase(made))


async def purchases(
    work: Work,
    organization: Organization,
    limit: Annotated[int, typer.Option(help="How many.", min=1, max=500)] = 20,
    before: Before = None,
) -> None:
    """List an organization's purchases, newest first."""
    async with work.till() as till:
        found = await till.purchases(organization, before=before, limit=limit)
    work.print(found, lambda: goods.purchases(found) if found.purchases else "Nothing was ordered yet.")


async def purchase(
    work: Work,
    organization: Organization,
    purchase: Purchase,
    look: Annotated[bool, typer.Option("--look", help="Ask the payment provider now.")] = False,  # noqa: FBT002 a flag
    cancel: Annotated[bool, typer.Option("--cancel", help="Leave its open checkout.")] = False,  # noqa: FBT002 a flag
    pay: Annotated[bool, typer.Option("--pay", help="Open a checkout for an invoice.")] = False,  # noqa: FBT002 a flag
) -> None:
    """Show one purchase and where it stands."""
    if look + cancel + pay > 1:
        raise ValueError("Say --look, --cancel or --pay, not several of them.")
    async with work.till() as till:
        if look:
            found = await till.look_at_purchase(organization, purchase)
        elif cancel:
            found = await till.cancel_purchase(organization, purchase)
        elif pay:
            found = await till.pay_invoice(organization, purchase)
        else:
            found = await till.purchase(organization, purchase)
    work.print(found, lambda: goods.purchase(found))


async def subscribe(
    work: Work,
    organization: Organization,
    plan: Annotated[str, typer.Argument(help="The plan.", show_default=False)],
    provider: Provider = None,
    email: Email = None,
    use_credit: UseCredit = False,  # noqa: FBT002 a flag
    waive_withdrawal: Waive = False,  # noqa: FBT002 a flag
    idempotency_key: Key = None,
) -> None:
    """Begin a plan or change it: up at once, down when the period ends, the present one to stay after all."""
    async with work.till() as till:
        done = await till.change_subscription(
            organization,
            plan,
            provider=provider,
            email=email,
            use_credit=use_credit,
            withdrawal_waived=waive_withdrawal,
            idempotency_key=idempotency_key,
        )
    work.print(done, lambda: goods.change(organization, done))


async def subscription(
    work: Work,
    organization: Organization,
    cancel: Annotated[bool, typer.Option("--cancel", help="Leave the plan when the period ends.")] = False,  # noqa: FBT002 a flag
    idempotency_key: Key = None,
) -> None:
    """Show an organization's plan and who bills it, or cancel it."""
    async with work.till() as till:
        if cancel:
            done = await till.cancel_subscription(organization, idempotency_key=idempotency_key)
            now = done.subscription
        else:
            now = await till.subscription(organization)
    work.print(now, lambda: goods.subscription(organization, now))


async def topup(
    work: Work,
    organization: Organization,
    pack: Annotated[str | None, typer.Option(help="The pack to buy.", show_default=False)] = None,
    threshold: Annotated[
        int | None, typer.Option(help="Buy when fewer tokens are left.", min=1, show_default=False)
    ] = None,
    ceiling: Annotated[
        int | None,
        typer.Option(
            help="Most minor units that are charged in a calendar month.", min=1, show_default=False
        ),
    ] = None,
    keep_credit: Annotated[  # noqa: FBT002 a flag
        bool, typer.Option("--keep-credit", help="Charge the whole price; else money credit pays first.")
    ] = False,
    off: Annotated[bool, typer.Option("--off", help="Switch it off.")] = False,  # noqa: FBT002 a flag
) -> None:
    """Show an organization's automatic top-up, switch it on or off.

    It charges the saved payment method, or without one lets credit pay for whole packs.
    """
    given = [pack is not None, threshold is not None, ceiling is not None]
    if (any(given) or keep_credit) and (off or not all(given)):
        raise ValueError("Give --pack, --threshold and --ceiling together, or --off, or nothing to look.")
    async with work.till() as till:
        if off:
            now = await till.stop_topup(organization)
        elif pack is not None and threshold is not None and ceiling is not None:
            now = await till.set_topup(
                organization, threshold=threshold, pack=pack, ceiling=ceiling, use_credit=not keep_credit
            )
        else:
            now = await till.topup(organization)
    work.print(now, lambda: goods.topup(organization, now))


async def payment_methods(
    work: Work,
    organization: Organization,
    forget: Annotated[
        str | None, typer.Option(help="Charge this method no more.", show_default=False)
    ] = None,
) -> None:
    """List an organization's saved payment methods, or forget one."""
    async with work.till() as till:
        if forget is None:
            found = await till.payment_methods(organization)
        else:
            found = await till.forget_payment_method(organization, forget)
    nothing = "No payment method is saved. A customer agrees to it when paying: tokentill buy --save-method"
    work.print(found, lambda: goods.methods(found) if found else nothing)


async def portal(
    work: Work,
    organization: Organization,
    return_url: Annotated[str, typer.Argument(help="Where the customer comes back to.", show_default=False)],
) -> None:
    """Print the provider's page where a customer changes the payment method."""
    async with work.till() as till:
        url = await till.portal(organization, return_url)
    work.print({"url": url}, lambda: Text(url))


async def clock(
    work: Work,
    organization: Organization,
    to: Moment = None,
    by: Annotated[int | None, typer.Option(help="So many days on.", min=1, show_default=False)] = None,
) -> None:
    """Move the clock of a simulated organization; everything due until then happens in order."""
    if (to is None) == (by is None):
        raise ValueError("Say where the clock shall stand with --to, or how many days on with --by.")
    async with work.till() as till:
        moment = epoch_ms(to)
        if moment is None:
            [newest] = (await till.journal(organization, limit=1)).entries
            moment = newest.time + (by or 0) * DAY_MS
        moved = await till.move_clock(organization, moment)
        now = await till.balance(organization)
    said = f"It is {show.moment(moved.time)} UTC for {organization}; {moved.invoices} invoices on the way."
    work.print(moved, lambda: show.stacked(Text(said), show.balance(organization, now)))


async def sync_prices(work: Work) -> None:
    """Make products and prices of the catalog at Stripe, where they are missing."""
    catalog, _ = wiring.read_catalog(work.settings.catalog)
    found = await wiring.sync_stripe(work.settings, catalog)
    rows = [(one.kind, one.item, one.price, "made" if one.made else "there") for one in found]
    work.print(found, lambda: show.table(["", "in the catalog", "price at Stripe", ""], rows))
