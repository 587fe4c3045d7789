"""Letters: what an e-mail says, as plain values, before anybody thinks of how it looks.

A letter is a subject, sentences, a small table and one link. Nothing in it presses: a deadline is named only where
it is one, an offer only where a notice is about running out.

Requirement ids: R-PLAN-8, R-PACK-7, R-PACK-11, R-LIC-1, R-LIC-3, R-REF-6.
"""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec import Struct

from tokentill.rules.catalog import Catalog
from tokentill.rules.money import format_amount
from tokentill.rules.notices import Notice
from tokentill.rules.purchases import Purchase
from tokentill.rules.warnings import Notice as Low


class Letter(Struct, frozen=True):
    """An e-mail. `rows` are pairs for a small table; `link` is (label, address); `code`: examples with their labels."""

    subject: str
    sentences: tuple[str, ...]
    rows: tuple[tuple[str, str], ...] = ()
    link: tuple[str, str] | None = None
    code: tuple[tuple[str, str], ...] = ()


class About(Struct, frozen=True):
    """What a letter is written from."""

    notice: Notice
    catalog: Catalog
    base_url: str
    purchase: Purchase | None
    low: Low | None


def letter(
    notice: Notice,
    catalog: Catalog,
    base_url: str,
    *,
    purchase: Purchase | None = None,
    low: Low | None = None,
) -> Letter:
    """The letter of a notice. `purchase`: the one it is about; `low`: what holds of a low balance now."""
    return _LETTERS.get(notice.type, _other)(About(notice, catalog, base_url, purchase, low))


def _tokens(count: int, catalog: Catalog) -> str:
    return f"{count:,} {catalog.unit.one if count == 1 else catalog.unit.many}"


def _day(at: object) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%-d %B %Y") if isinstance(at, int) else ""


def _shop(catalog: Catalog, base_url: str, label: str = "See packs and plans") -> tuple[str, str]:
    link = catalog.texts.purchase_link
    return label, f"{base_url}{link}" if link.startswith("/") else link


def _low(about: About) -> Letter:
    sentences = [f"You have {_tokens(about.notice.balance, about.catalog)} left."]
    if about.low is not None:
        sentences.append(about.low.text)
        if about.low.recommended is not None:
            sentences.append(f"To last until then at your pace: {about.low.recommended.label}.")
    subject = f"Your {about.catalog.unit.many} are running low"
    return Letter(subject, tuple(sentences), link=_shop_if_open(about))


def _shop_if_open(about: About) -> tuple[str, str] | None:
    """The way to the packs, while there is something to buy (R-PACK-9)."""
    nothing = about.low is not None and about.low.link is None
    return None if nothing else _shop(about.catalog, about.base_url)


def _exhausted(about: About) -> Letter:
    link, texts = _shop_if_open(about), about.catalog.texts
    sentences = [texts.exhausted_closed if link is None else texts.exhausted]
    if about.low is not None and about.low.days is not None:
        days = "1 day" if about.low.days == 1 else f"{about.low.days} days"
        sentences.append(f"Your plan brings new {about.catalog.unit.many} in {days}.")
    return Letter(texts.headline, tuple(sentences), link=link)


def _expiring(about: About) -> Letter:
    count = _tokens(int(about.notice.data["tokens"]), about.catalog)
    at = _day(about.notice.data.get("expires_at"))
    when = f" on {at}" if at else " soon"
    text = f"{count} that you bought will expire{when}. What expires first is spent first."
    return Letter(f"{count} will expire{when}", (text,))


def _receipt(about: About) -> Letter:
    bought, data = about.purchase, about.notice.data
    title = "Your purchase" if bought is None else bought.title
    rows = [] if bought is None else [("Bought", title)]
    if bought is None or bought.kind in ("pack", "code"):
        rows.append(("Delivered", _tokens(int(data["tokens"]), about.catalog)))
    if bought is not None:
        rows += _terms(bought, about.catalog)
    if data.get("expires_at"):
        rows.append(("Valid until", _day(data["expires_at"])))
    # Of a pack the notice tells of its own lot; what comes on top is a lot granted right after.
    more = 0 if bought is None or "kind" in data else bought.bonus
    plan = None if bought is None or bought.kind in ("pack", "code") else about.catalog.plans.get(bought.item)
    unlimited = plan is not None and plan.unlimited
    rows.append(("Balance", "no limit" if unlimited else _tokens(about.notice.balance + more, about.catalog)))
    text = "Thank you. What you bought is in your account and can be used now."
    if bought is not None and bought.kind == "overage":
        text = "Thank you. What you used beyond your plan is paid."
    return Letter(f"Receipt: {title}", (text,), tuple(rows))


def _terms(bought: Purchase, catalog: Catalog) -> list[tuple[str, str]]:
    """What came with a purchase, and what of its price was saved, credited and paid."""
    rows = []
    if bought.plan_start is not None and bought.plan_end is not None:
        rows.append(("Period", f"{_day(bought.plan_start)} to {_day(bought.plan_end)}"))
    if bought.bonus:
        rows.append(("On top", _tokens(bought.bonus, catalog)))
    credited = min(bought.credit, bought.list_amount)
    if credited:
        rows.append(("Unused share of your plan before", format_amount(-credited, bought.currency)))
    saved = bought.list_amount - bought.credit_used - bought.amount
    if saved > 0 and bought.kind == "pack":
        what = "Saved" if bought.promo is None else f"Saved with {bought.promo}"
        rows.append((what, format_amount(saved, bought.currency)))
    if bought.credit_used:
        rows.append(("Paid with credit", format_amount(bought.credit_used, bought.currency)))
    rows += [("Paid", format_amount(bought.amount, bought.currency)), ("Purchase", bought.id)]
    return rows


def _failed(about: About) -> Letter:
    grace = about.catalog.licence.grace_days
    kept = _tokens(int(about.notice.data["tokens"]), about.catalog)
    sentences = (
        f"The payment for your plan failed. {about.catalog.texts.payment_failed}.",
        f"Nothing is lost: {kept} are kept for you and come back as soon as the payment is made.",
        f"Everything else goes on for {grace} days.",
    )
    return Letter(
        "Your payment failed", sentences, link=_shop(about.catalog, about.base_url, "Update payment")
    )


def _recovered(about: About) -> Letter:
    text = f"Your payment arrived. Everything is back, with {_tokens(about.notice.balance, about.catalog)} to use."
    return Letter("Your payment arrived", (text,))


def _period(about: About) -> Letter:
    count = _tokens(int(about.notice.data["tokens"]), about.catalog)
    text = f"A new period has begun: {count} of your plan, until {_day(about.notice.data['end'])}."
    return Letter(
        f"{count} for the new period", (text,), (("Balance", _tokens(about.notice.balance, about.catalog)),)
    )


def _overage(about: About) -> Letter:
    amount = format_amount(int(about.notice.data["amount"]), str(about.notice.data["currency"]))
    count = _tokens(int(about.notice.data["tokens"]), about.catalog)
    text = (
        f"In the period that ended you used {count} beyond your plan. That is {amount}, due now. "
        "Credit in your account, if there is any, pays first."
    )
    return Letter(f"{amount} for use beyond your plan", (text,))


def _taken(about: About) -> Letter:
    texts = about.catalog.refunds.texts
    refund = about.notice.data["origin"] == "refund"
    text = texts.mail_taken_refund if refund else texts.mail_taken_dispute
    count = _tokens(int(about.notice.data["tokens"]), about.catalog)
    return Letter(texts.mail_taken, (text.format(tokens=count),))


def _waiting(about: About) -> Letter:
    refunds, data, rows = about.catalog.refunds, about.notice.data, list(_of_what(about))
    if data["given"]:  # a larger pack's first payment is back, and a person decides of the other
        rows.append((refunds.texts.figure_money, format_amount(int(data["given"]), str(data["currency"]))))
    return Letter(refunds.texts.mail_waiting, (refunds.waiting,), tuple(rows))


def _of_what(about: About) -> tuple[tuple[str, str], ...]:
    """Which purchase a refund is about."""
    purchase, name = about.purchase, about.catalog.refunds.texts.figure_purchase
    return () if purchase is None else ((name, f"{purchase.title} ({purchase.id})"),)


def _refunded(about: About) -> Letter:
    data, catalog, rows = about.notice.data, about.catalog, list(_of_what(about))
    texts = catalog.refunds.texts
    if data["choice"] == "bonus":
        came = texts.mail_bonus_came.format(tokens=_tokens(int(data["tokens"]), catalog))
        return Letter(texts.mail_bonus, (came,), tuple(rows))
    if data["choice"] == "upgrade":
        pack = catalog.packs.get(str(data["item"]))
        came = texts.mail_upgrade_came.format(title=str(data["item"]) if pack is None else pack.title)
        return Letter(texts.mail_upgrade, (came,), tuple(rows))
    sentences = []
    if data["money"]:
        rows.append((texts.figure_money, format_amount(int(data["money"]), str(data["currency"]))))
        sentences.append(texts.mail_money)
    if data["credit"]:
        rows.append((texts.figure_credit, format_amount(int(data["credit"]), str(data["currency"]))))
        sentences.append(texts.mail_credit)
    if not data["share"]:  # where a share alone went, `tokens.taken_back` says how many that are
        sentences.append(texts.mail_tokens_went)
    if data["ends_plan"]:
        sentences.append(texts.mail_plan_ended)
    if data["reason"]:
        sentences.append(texts.mail_why.format(reason=data["reason"]))
    return Letter(texts.mail_settled, tuple(sentences), tuple(rows))


def _denied(about: About) -> Letter:
    texts = about.catalog.refunds.texts
    why = texts.mail_denied_why.format(reason=about.notice.data["reason"])
    return Letter(texts.mail_denied, (why, texts.mail_kept), _of_what(about))


def _unrefunded(about: About) -> Letter:
    texts = about.catalog.refunds.texts
    return Letter(texts.mail_failed, (texts.mail_failed_kept, texts.mail_again), _of_what(about))


def _topup_stopped(about: About) -> Letter:
    data, bought, link = about.notice.data, about.purchase, None
    if data["reason"] == "needs_confirmation":
        if bought is not None and bought.state == "pending" and bought.url is not None:
            link = "Confirm the payment", bought.url
    elif data["reason"] not in ("limit", "switched_off"):  # then nothing can be bought for now
        link = _shop(about.catalog, about.base_url)
    until = "Until you switch it on again nothing is bought by itself."
    return Letter("Your automatic top-up has stopped", (str(data["text"]), until), link=link)


def _other(about: About) -> Letter:
    return Letter(
        f"{about.catalog.title}: {about.notice.type}",
        (f"Your balance is {_tokens(about.notice.balance, about.catalog)}.",),
    )


_LETTERS = {
    "balance.low": _low,
    "balance.exhausted": _exhausted,
    "tokens.expiring": _expiring,
    "purchase.delivered": _receipt,
    "payment.failed": _failed,
    "payment.recovered": _recovered,
    "period.started": _period,
    "overage.billed": _overage,
    "tokens.taken_back": _taken,
    "refund.waiting": _waiting,
    "refund.settled": _refunded,
    "refund.denied": _denied,
    "refund.failed": _unrefunded,
    "topup.stopped": _topup_stopped,
}
