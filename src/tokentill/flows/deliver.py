"""Deliver: take the steps that follow from a purchase's facts, each written down before it is taken.

A crash between any two writes leaves either a step that was not begun, which still follows from the facts, or
one in `doing`, whose commands are sent again under the same keys and are not done twice. Two processes that
take the same step send the same keys, and one of them writes down that it is done.

Requirement ids: R-PACK-3, R-PACK-7, R-PACK-10, R-LIC-1, R-LIC-3, R-REF-6, R-SALE-1, R-SALE-4.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from tokentill.flows.carry import carry, held_of
from tokentill.flows.handing import prepare
from tokentill.flows.means import Means, deed_key, later, log
from tokentill.ports import VendorDown, VendorRefused
from tokentill.rules import commands as c
from tokentill.rules.catalog import HOUR_MS
from tokentill.rules.claims import after_spending, spending
from tokentill.rules.credit import NO_CREDIT
from tokentill.rules.deliveries import answered, came_late, step_commands
from tokentill.rules.ordering import bill_with, is_open, renewal_without
from tokentill.rules.purchases import BILLED, Purchase, Step, begin, derive, finish, next_step, step_key
from tokentill.rules.refusals import Refusal
from tokentill.rules.waiting import look_at

OWED_MAX = 1000

RECEIPTED = BILLED | {"overage"}
"""Kinds whose receipt is written here; that of the others is read off the lot in the journal (R-PACK-7)."""

OWED = ("overage", "renewal")
"""Kinds that are owed whatever becomes of the credit that was to pay for them."""

Taken = tuple[tuple[int, ...], int, str | None]
"""What a step made: lots, a figure, and why it could not be taken."""

Telling = Callable[[Purchase], Awaitable[None]]
"""Writes the receipt of a purchase, or its delivery message, once however often it is called."""


def _needless(bill: Purchase) -> bool:
    """Whether the bill was paid while credit that came after it was made was being spent on it."""
    return bool(bill.further) and bill.paid_at is not None


class Delivery:
    """Takes the steps of purchases."""

    def __init__(self, means: Means, receipt: Telling | None = None, ready: Telling | None = None) -> None:
        self._means = means
        self._receipt = receipt
        self._ready = ready

    def ready(self, purchase: Purchase) -> Purchase:
        """The purchase with its next step written down and the time when somebody should look at it again."""
        now = self._means.clock.now()
        return later(begin(purchase), look_at(purchase, now))

    def swept(self, purchase: Purchase) -> Purchase:
        """The purchase, to take what running operations have let go of since everything was taken."""
        return self.ready(replace(purchase, sweep="now")) if purchase.sweep == "wait" else purchase

    async def advance(self, purchase: Purchase) -> Purchase:
        """Take every step that the facts ask for; the purchase as it is stored then. Raises `StoreDown`."""
        means = self._means
        while next_step(purchase) is not None:
            if purchase.doing is None:
                purchase = await means.change(purchase, self.ready)
                continue
            step, done = purchase.doing, purchase.done
            if step == "apply_credit":
                applied = await self._apply_credit(purchase)
                if applied is None:
                    return purchase
                if not applied:
                    purchase = await self._collected_whole(purchase)
                    continue
            if step == "spend_credit":
                spent = await self._spend(purchase)
                if isinstance(spent, str):
                    return await self._stuck(purchase, step, spent)
                if not spent:
                    purchase = await means.change(purchase, self._without_credit(purchase))
                    continue
            nothing: Taken = ((), 0, None)
            lots, figure, problem = nothing if step == "spend_credit" else await self._take(purchase)
            now = means.clock.now()
            if problem is not None:
                return await self._stuck(purchase, step, problem)

            def finished(
                row: Purchase,
                step: Step = step,
                done: tuple[Step, ...] = done,
                now: int = now,
                lots: tuple[int, ...] = lots,
                figure: int = figure,
            ) -> Purchase:
                if row.done != done or row.doing != step or (step == "spend_credit" and _needless(row)):
                    return row  # somebody else took it too, and was first to write it down
                why = row.problem if step == "return_credit" else None
                found = self.ready(replace(finish(row, now, lots, figure), problem=why))
                # More credit may have come meanwhile, and whoever told of it found the bill at work.
                return later(found, now) if step == "spend_credit" and is_open(found) else found

            purchase = await means.change(purchase, finished)
        return purchase

    async def _spend(self, purchase: Purchase) -> bool | str:
        """Spend the credit, or for good do not: whether it is spent; why it cannot be told, where a person must look.

        The journal decides that once for each key: where there is too little, nothing is spent under the key, and
        whoever asks later, however late, hears the same.
        """
        [(part, command)] = step_commands(purchase, 0)
        key, organization = step_key(purchase, part), purchase.organization
        reply = await self._means.submit(organization, command, key)
        why = reply.message if isinstance(reply, Refusal) else NO_CREDIT
        if isinstance(reply, Refusal):
            reply = await self._means.submit(organization, replace(command, amount=0), key)
        if isinstance(reply, Refusal):
            return f"{reply.code}: {reply.message}"
        if reply.tokens and _needless(purchase):
            await self._credit_back(purchase)
            return False
        if not reply.tokens and purchase.paid_at is not None and purchase.kind not in OWED:
            return why
        return reply.tokens > 0

    async def _apply_credit(self, renewal: Purchase) -> bool | None:
        """Take the credit off the drafted invoice: whether it is; None where that is not known, and is asked again."""
        payments = self._means.payments.get(renewal.provider)
        if payments is None:
            return None
        try:
            return await payments.apply_credit(renewal, deed_key(renewal.id, "apply credit"))
        except VendorDown:
            log.warning("credit was not applied yet", purchase=renewal.id)
        except VendorRefused as refused:
            text = (
                f"Credit was not taken off the invoice of purchase {renewal.id} yet ({refused}). It is tried again; "
                "where the invoice is collected without it, the customer has it back."
            )
            await self._means.alert(renewal.organization, "undelivered", renewal.id, text)
        return None

    async def _collected_whole(self, renewal: Purchase) -> Purchase:
        """The invoice is collected without the credit that was spent on it, which is given back first."""
        await self._credit_back(renewal)

        def whole(row: Purchase) -> Purchase:
            return self.ready(renewal_without(row)) if row.doing == "apply_credit" else row

        return await self._means.change(renewal, whole)

    async def _credit_back(self, bill: Purchase) -> None:
        """Give back what was spent on a bill that is paid without it."""
        back = c.Grant(
            tokens=spending(bill), origin="credit", unit="money", reference=bill.id, reason="not used"
        )
        nth = (len(bill.further),) if bill.further else ()
        await self._means.submit(bill.organization, back, deed_key(bill.id, "credit back", *nth))

    def _without_credit(self, known: Purchase) -> Callable[[Purchase], Purchase]:
        """The order whose credit was spent on something else meanwhile: nothing was bought. A bill does without it."""

        def without(row: Purchase) -> Purchase:
            if row.doing != "spend_credit" or (row.done, row.further) != (known.done, known.further):
                return row
            if row.kind == "overage":
                freed = replace(row, doing=None)
                bill = after_spending(freed, spent=False) if row.further else bill_with(freed, 0)
                # What is left of the credit may still pay a part.
                return later(bill, self._means.clock.now()) if is_open(bill) else self.ready(derive(bill))
            if row.kind == "renewal":
                return self.ready(renewal_without(row))
            if row.paid_at is not None:
                return row
            return self.ready(derive(replace(row, doing=None, ended=True, problem=NO_CREDIT)))

        return without

    async def _take(self, purchase: Purchase) -> Taken:
        """Send the commands of the step; the lots they made and a figure, or why the step cannot be taken."""
        if purchase.doing == "restore":
            return (), 0, await self._restore(purchase)
        if purchase.doing == "carry":
            return (), await carry(self._means, self, purchase), None
        if purchase.doing == "apply_credit":
            return (), 0, None  # the provider has done it
        now = await self._means.time_of(purchase.organization)
        if purchase.doing == "deliver":
            await prepare(self._means, purchase)
        lots: list[int] = []
        for part, command in step_commands(purchase, now):
            reply = await self._means.submit(purchase.organization, command, step_key(purchase, part))
            if not answered(purchase, reply):
                assert isinstance(reply, Refusal), "a receipt is an answer"
                return (), 0, f"{reply.code}: {reply.message}"
            if came_late(purchase, reply):
                await self._tell_late(purchase)
            lot = None if isinstance(reply, Refusal) else reply.lot
            if lot is not None:
                lots.append(lot)
        if purchase.kind == "renewal":
            # A paid invoice mends a failed payment, but not while another is owed.
            await self._freeze_again(purchase, now)
        if purchase.doing == "deliver" and purchase.kind in RECEIPTED and self._receipt is not None:
            await self._receipt(purchase)  # before the step is done, so that a crash loses none
        if purchase.doing == "deliver" and self._ready is not None:
            await self._ready(purchase)
        held = await held_of(self._means, purchase) if purchase.doing == "take_back" else 0
        return tuple(lots), held, None

    async def _restore(self, purchase: Purchase) -> str | None:
        """Give everything back, unless another invoice of the organization is still owed (R-LIC-3)."""
        organization = purchase.organization
        if await self.owed(organization):
            return None
        now = await self._means.time_of(organization)
        for part, command in step_commands(purchase, now):
            reply = await self._means.submit(organization, command, step_key(purchase, part))
            if not answered(purchase, reply):
                assert isinstance(reply, Refusal), "a receipt is an answer"
                return f"{reply.code}: {reply.message}"
        # An invoice may have failed between the look and the command; then its freeze came before this.
        await self._freeze_again(purchase, now)
        return None

    async def _freeze_again(self, purchase: Purchase, now: int) -> None:
        """Set the tokens aside again if another invoice of the organization is still owed."""
        owed = await self.owed(purchase.organization)
        if owed:
            first = min(owed, key=lambda row: row.failed_at or now)
            failed_at = min(first.failed_at or now, now)
            freeze = c.Freeze(failed_at=failed_at, reason=f"invoice {first.invoice}", by_hand=False)
            await self._means.submit(purchase.organization, freeze, step_key(purchase, "again"))

    async def _tell_late(self, purchase: Purchase) -> None:
        """A payment that came when its period was over brings none of the plan's tokens: a person should know."""
        text = (
            f"{purchase.organization} paid for {purchase.title} ({purchase.id}), and its period was over when that was "
            "told. None of the plan's tokens came with it. Give the payment back or grant tokens, if that is fair."
        )
        await self._means.alert(purchase.organization, "late_period", purchase.id, text)

    async def owed(self, organization: str) -> list[Purchase]:
        """Purchases of the organization whose invoice failed and is neither paid nor voided."""
        equal = {"organization": organization, "state": "failed"}
        found = await self._means.rows.find(Purchase, equal, limit=OWED_MAX)
        return [row for row in found if row.failed_at is not None]

    async def _stuck(self, purchase: Purchase, step: Step, problem: str) -> Purchase:
        """A step that the account refuses: a person must look; it is tried again every hour."""
        means = self._means
        log.error("a step of a purchase was refused", purchase=purchase.id, step=step, problem=problem[:200])
        text = f"Step {step} of purchase {purchase.id} was refused: {problem}"
        await means.alert(purchase.organization, "undelivered", purchase.id, text)
        due_at = means.clock.now() + HOUR_MS
        return await means.change(
            purchase, lambda row: later(replace(row, problem=problem), due_at) if row.doing == step else row
        )
