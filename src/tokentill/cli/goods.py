"""Goods: offers, purchases and what belongs to them, as a person reads them in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from tokentill.cli.show import moment, money, number, table
from tokentill.wiring import office_views as o
from tokentill.wiring import shop_views as v


def packs(found: v.PacksView) -> Group:
    """The packs on offer, which is recommended and why."""
    code = found.currency
    rows = [
        (
            "→" if one.recommended else "",
            one.id,
            number(one.tokens + one.bonus),
            money(one.price, code),
            one.per_token,
            "" if one.saving is None else f"{money(one.saving, code)} ({one.saving_percent} %)",
            one.note or (one.best_for if one.refusal is None else one.refusal.message),
        )
        for one in found.packs
    ]
    parts: list[Table | Text] = [
        Text(found.title, style="bold"),
        table(["", "pack", "#tokens", "#price", "#for each", "#saved", ""], rows),
        Text(found.reason),
    ]
    if found.upgrade is not None and found.upgrade.suggested:
        parts += [Text(line) for line in found.upgrade.lines]
    if found.withdrawal is not None:
        parts.append(Text(f"At the purchase: “{found.withdrawal.text}” {found.withdrawal.hint}"))
    if found.promo_refusal is not None:
        parts.append(Text(found.promo_refusal.message, style="yellow"))
    return Group(*parts)


def purchase(one: v.PurchaseView) -> Text:
    """One purchase, and where to pay it."""
    more = f" and {number(one.bonus)} more" if one.bonus else ""
    lines = [f"{one.title}{more} for {money(one.amount, one.currency)}: {one.state} (purchase {one.id})"]
    if one.url is not None:
        lines.append(f"Pay at {one.url} until {moment(one.expires_at)} UTC.")
    if one.credit_used:
        lines.append(f"Of the price {money(one.credit_used, one.currency)} is paid with credit.")
    if one.replaces is not None:
        lines.append(f"It is paid by the difference, in place of purchase {one.replaces}.")
    if one.replaced_by is not None:
        lines.append(f"It was turned into the larger pack of purchase {one.replaced_by}.")
    if one.withdrawal_waived_at is not None:
        lines.append(f"The right of withdrawal was given up at {moment(one.withdrawal_waived_at)} UTC.")
    if one.problem is not None:
        lines.append(f"Problem: {one.problem}")
    if one.flagged is not None:
        lines.append(f"A person should look at it: {one.flagged}")
    return Text("\n".join(lines))


def purchases(found: v.PurchaseList) -> Group:
    """Purchases, newest first."""
    rows = [
        (
            moment(one.created_at),
            one.kind,
            one.title,
            number(one.tokens + one.bonus),
            money(one.amount, one.currency),
            one.state,
            one.provider,
            one.id,
        )
        for one in found.purchases
    ]
    columns = ["ordered (UTC)", "kind", "what", "#tokens", "#amount", "state", "by", "purchase"]
    more = "" if found.next is None else f"Older ones: --before {found.next}"
    return Group(table(columns, rows), Text(more))


def subscription(organization: str, one: v.SubscriptionView) -> Table:
    """The plan and who bills it."""
    rows: list[tuple[str, object]] = [("plan", one.plan or "none"), ("billed by", one.provider or "nobody")]
    if one.status is not None:
        rows.append(("status", one.status))
    if one.provider is not None:
        rows.append(("next invoice", money(one.amount, one.currency)))
    if one.period_end is not None:
        rows.append(("period ends", f"{moment(one.period_end)} UTC"))
    if one.trial_end is not None:
        rows.append(("trial ends", f"{moment(one.trial_end)} UTC"))
    if one.scheduled or one.ends_at is not None:
        rows.append(("then", one.next_plan or one.scheduled_plan or "no plan"))
    return table(["", organization], rows)


def change(organization: str, one: v.SubscriptionChange) -> Group:
    """What became of a change of plan."""
    said = [] if one.purchase is None else [purchase(one.purchase)]
    return Group(*said, subscription(organization, one.subscription))


def topup(organization: str, one: v.TopUpView) -> Group:
    """The automatic top-up."""
    rows: list[tuple[str, object]] = [("automatic top-up", "on" if one.enabled else "off")]
    if one.pack is not None:
        ceiling = money(one.ceiling, one.currency)
        rows += [
            ("below", f"{number(one.threshold)} tokens"),
            ("buys", one.pack),
            ("credit", "pays first" if one.use_credit else "is kept for other purchases"),
            ("at most", f"{ceiling} a month"),
        ]
        rows.append(("charged", f"{money(one.spent, one.currency)} {one.month}".strip()))
    return Group(table(["", organization], rows), Text(one.stopped_text or ""))


def methods(found: Sequence[v.PaymentMethod]) -> Table:
    """Saved payment methods."""
    return table(
        ["method", "by", "label", "used (UTC)"],
        [(one.id, one.provider, one.label, moment(one.used_at)) for one in found],
    )


def codes(found: o.CodeList) -> Table:
    """Redemption codes."""
    rows = [
        (
            f"…{one.shown}",
            one.batch,
            number(one.tokens),
            "withdrawn" if one.revoked else "free" if one.used_at is None else f"used by {one.used_by}",
            moment(one.expires_at),
            one.id,
        )
        for one in found.codes
    ]
    return table(["code", "batch", "#tokens", "state", "ends (UTC)", "id"], rows)


def switches(found: Sequence[o.SwitchView]) -> Table:
    """Switches and who turned them."""
    rows = [(one.switch, "on" if one.on else "off", one.reason, one.actor, moment(one.at)) for one in found]
    return table(["switch", "now", "why", "by", "since (UTC)"], rows)


def alerts(found: o.AlertList) -> Table:
    """What an operator should look at."""
    rows = [(moment(one.created_at), one.organization, one.text, one.id) for one in found.alerts]
    return table(["raised (UTC)", "organization", "what", "id"], rows)


def endpoints(found: Sequence[o.EndpointView]) -> Table:
    """Addresses that get webhooks."""
    rows = [
        (
            one.id,
            one.url,
            ", ".join(one.events) or "all",
            "on" if one.enabled else "off",
            moment(one.failing_since),
        )
        for one in found
    ]
    return table(["id", "address", "events", "now", "failing since (UTC)"], rows)


def messages(found: o.MessageList) -> Table:
    """E-mails and webhooks."""
    rows = [
        (moment(one.created_at), one.channel, one.type, one.state, one.tries, one.problem, one.id)
        for one in found.messages
    ]
    return table(["made (UTC)", "by", "type", "state", "#tries", "problem", "id"], rows)


def events(found: o.EventList) -> Table:
    """Events of payment providers."""
    rows = [
        (moment(one.created_at), one.provider, one.type, one.state, one.tries, one.problem, one.id)
        for one in found.events
    ]
    return table(["came (UTC)", "from", "type", "state", "#tries", "problem", "id"], rows)
