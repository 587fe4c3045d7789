"""Views of the shop: what the API answers about offers, purchases and subscriptions.

A purchase is shown without what is the till's own business: no key of a provider, no step that is under way, no
fingerprint of a card. Money is minor units of `currency`, times are epoch milliseconds.

Requirement ids: R-PACK-1, R-PACK-5, R-PACK-6, R-PACK-7, R-PACK-11.
"""

from __future__ import annotations

from typing import Literal, TypeVar

from msgspec import Struct

from tokentill.flows.means import deed_key
from tokentill.flows.standing import status_of
from tokentill.rules import offers as o
from tokentill.rules.account import State as Account
from tokentill.rules.purchases import Kind, Mode, Purchase, Source, State
from tokentill.rules.receipts import Receipt
from tokentill.rules.refund_policy import RefundPolicy
from tokentill.rules.refund_texts import Waiver, waiver
from tokentill.rules.refusals import Refusal
from tokentill.rules.rows import Payer, Subscription, TopUp
from tokentill.rules.topups import STOPPED
from tokentill.rules.upgrading import Way

V = TypeVar("V", bound=Struct)


class UpgradeView(Struct, frozen=True, kw_only=True):
    """What moving to the next plan would cost beside packs, with the arithmetic in `lines`.

    `now` minor units charged at once, `horizon` what of it belongs to the time until `until`. `cheaper` is set only
    where it is true in every respect.
    """

    plan: str
    title: str
    price: int
    suggested: bool
    need: int
    until: int
    credit: int
    upgrade: Way
    stay: Way | None
    cheaper: Literal["stay", "upgrade"] | None
    lines: tuple[str, ...]


class PacksView(Struct, frozen=True, kw_only=True):
    """The packs as the customer sees them now, `shown_at` this moment: name it as `offered_at` of an order.

    `left`: tokens free now. `need`: tokens that will be lacking until `until`. `reason` says what the recommendation
    follows from. `slots`: packs that may be bought now, null = no limit; `slot_free_at` when there is one more.
    `promo_refusal`: why the code that was typed holds for none of them.
    """

    title: str
    text: str
    currency: str
    shown_at: int
    packs: tuple[o.PackOffer, ...]
    left: int
    need: int
    until: int
    days: int
    recommended: str | None
    reason: str
    slots: int | None
    slot_free_at: int | None
    upgrade: UpgradeView | None
    promo_refusal: Refusal | None
    withdrawal: Waiver | None
    """What a customer may agree to at the purchase; null where no law gives a right of withdrawal."""


class PurchaseView(Struct, frozen=True, kw_only=True):
    """One purchase and where it stands. `url`: where it can be paid, while it can.

    `state`: created, pending, paid, delivered, failed, abandoned, mismatched, disputed, charged_back,
    partly_refunded or refunded; the tokens are there from delivered on. `flagged`: why a person should look at it.
    `withdrawal_waived_at`: when the customer gave up the right of withdrawal, null where nobody did. `replaces`: the
    pack that this larger one took the place of for the difference, `replaced_by` the larger one that took its place.
    """

    id: str
    kind: Kind
    item: str
    title: str
    state: State
    amount: int
    currency: str
    list_amount: int
    credit: int
    credit_used: int
    refunded: int
    tokens: int
    bonus: int
    valid_days: int | None
    promo: str | None
    provider: str
    mode: Mode
    source: Source
    user: str | None
    url: str | None
    expires_at: int | None
    created_at: int
    paid_at: int | None
    delivered_at: int | None
    plan_start: int | None
    plan_end: int | None
    withdrawal_waived_at: int | None
    replaces: str | None
    replaced_by: str | None
    problem: str | None
    flagged: str | None


class PurchaseList(Struct, frozen=True, kw_only=True):
    """Purchases, newest first; `next` is the `before` of the page after, null at the end."""

    purchases: tuple[PurchaseView, ...]
    next: str | None


class TopUpView(Struct, frozen=True, kw_only=True):
    """The automatic top-up. `stopped_text`: what to do about a stop.

    `ceiling`: the most that the saved method is charged in a month; `spent`: what of it was charged in this `month`.
    `use_credit`: money credit pays first.
    """

    enabled: bool
    threshold: int | None
    pack: str | None
    ceiling: int | None
    use_credit: bool
    currency: str
    month: str
    spent: int
    purchase: str | None
    stopped: str | None
    stopped_at: int | None
    stopped_text: str | None


class PaymentMethod(Struct, frozen=True, kw_only=True):
    """A payment method that the customer agreed to save; `id` is what an order calls `payer`."""

    id: str
    provider: str
    label: str
    used_at: int


class PaymentMethodList(Struct, frozen=True, kw_only=True):
    """Saved payment methods, the one used last first."""

    methods: tuple[PaymentMethod, ...]


class PortalView(Struct, frozen=True, kw_only=True):
    """Where the customer changes the payment method and sees invoices; the address is for this customer alone."""

    url: str


class SubscriptionView(Struct, frozen=True, kw_only=True):
    """The organization's plan and who bills it. `provider` null: nobody does.

    `status`: active, trialing, past_due (an invoice is owed), cancelled (the last one is over and none runs), or another
    word of the provider's; null where there never was a subscription.
    `amount`: what the next invoice shall be. `next_plan`: the plan from `period_end` on, where it will be another.
    `ends_at`: when the plan ends, where it was cancelled.
    """

    plan: str | None
    scheduled: bool
    scheduled_plan: str | None
    provider: str | None
    status: str | None
    amount: int | None
    currency: str
    period_end: int | None
    next_plan: str | None
    ends_at: int | None
    trial_end: int | None


class SubscriptionChange(Struct, frozen=True, kw_only=True):
    """What became of a change: `purchase` of one that is paid, `receipt` of one that waits for the period's end."""

    subscription: SubscriptionView
    purchase: PurchaseView | None
    receipt: Receipt | None


def same(kind: type[V], row: Struct, **more: object) -> V:
    """The view of a row whose fields have the same names, but for those that are given."""
    own = {name: getattr(row, name) for name in kind.__struct_fields__ if name not in more}
    return kind(**own, **more)


def packs(found: o.PackOffers, policy: RefundPolicy) -> PacksView:
    """What is offered, without packs that are not for this customer, and what the refund policy asks beside it."""
    up = found.upgrade
    return same(
        PacksView,
        found,
        packs=tuple(offer for offer in found.packs if not offer.hidden),
        upgrade=None if up is None else _upgrade(up),
        withdrawal=waiver(policy),
    )


def _upgrade(up: o.Upgrade) -> UpgradeView:
    fields = ("need", "until", "credit", "upgrade", "stay", "cheaper")
    return same(UpgradeView, up, **{name: getattr(up.comparison, name) for name in fields})


def purchase(row: Purchase) -> PurchaseView:
    """A purchase as its organization's operator may see it."""
    payable = row.paid_at is None and (row.state in ("created", "pending") or row.mode == "invoice")
    return same(PurchaseView, row, url=row.url if payable else None)


def topup(row: TopUp | None, currency: str) -> TopUpView:
    """The automatic top-up; one that was never set is off."""
    if row is None:
        row = TopUp(id="", enabled=False, threshold=0, pack="", ceiling=0)
    return same(
        TopUpView,
        row,
        threshold=row.threshold or None,
        pack=row.pack or None,
        ceiling=row.ceiling or None,
        currency=currency,
        stopped_text=None if row.stopped is None else STOPPED.get(row.stopped),
    )


def method_id(row: Payer) -> str:
    """The id by which a saved method is known outside; the row's own has the card's fingerprint in it."""
    return deed_key("payer", row.id)


def method(row: Payer) -> PaymentMethod:
    """A saved payment method."""
    return same(PaymentMethod, row, id=method_id(row))


def subscription(state: Account, last: Subscription | None, now: int, currency: str) -> SubscriptionView:
    """The plan of the account and the subscription that pays it; of one that is over only that it is."""
    status = None if last is None else status_of(last, state, now)
    row = None if status == "cancelled" else last
    return SubscriptionView(
        plan=state.plan,
        scheduled=state.scheduled,
        scheduled_plan=state.scheduled_plan,
        provider=None if row is None else row.provider,
        status=status,
        amount=None if row is None else row.amount,
        currency=currency if row is None else row.currency or currency,
        period_end=row.period_end if row is not None else state.period.end if state.period else None,
        next_plan=None if row is None else row.next_plan,
        ends_at=None if row is None else row.ends_at,
        trial_end=None if row is None else row.trial_end,
    )
