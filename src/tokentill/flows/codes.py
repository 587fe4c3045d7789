"""Codes: make redemption codes, and redeem one, once (R-PACK-8).

A code is shown when it is made and never again: what is kept is a digest keyed by the till's own secret, so that
the database alone gives no code away. Redeeming first marks the code as used, by whom and for which purchase; of
many at once one is first. Then the purchase is put on record and delivered like any other. Whoever dies in
between leaves a marked code that the clerk goes on with.

Requirement ids: R-PACK-8, R-PACK-3.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from msgspec import Struct
from msgspec.structs import replace

from tokentill.flows.checkout import Ask, Checkout
from tokentill.flows.means import Means, later
from tokentill.flows.pay import Terms
from tokentill.flows.shopper import Reader
from tokentill.rules import codes
from tokentill.rules.catalog import TOKENS_MAX
from tokentill.rules.ordering import Order, order_code
from tokentill.rules.purchases import Purchase, purchase_id
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.rows import RedemptionCode
from tokentill.rules.waiting import LEASE_MS

CODES_MAX = 1_000
"""Most codes that are made at once."""


class Batch(Struct, frozen=True, kw_only=True):
    """Codes to be made: each brings `tokens`, valid for `valid_days` once redeemed (None = for ever).

    `expires_at`: until when it can be redeemed, epoch ms; None = for ever.
    """

    name: str
    tokens: int
    count: int = 1
    title: str = ""
    valid_days: int | None = None
    expires_at: int | None = None


class Codes:
    """Makes and redeems codes."""

    def __init__(self, means: Means, checkout: Checkout, reader: Reader) -> None:
        self._means = means
        self._checkout = checkout
        self._reader = reader
        self._key = blake2b(means.secret, digest_size=32, person=b"redemption codes").digest()

    async def create(self, batch: Batch, key: str | None = None) -> list[str] | Refusal:
        """Make codes; they are shown this once. Under the same idempotency key they are the same codes again."""
        wrong = _wrong(batch, self._means.clock.now())
        if wrong is not None:
            return wrong
        made = []
        for number in range(batch.count):
            written = _write(self._means.ids.secret() if key is None else self._seed(key, number))
            row = RedemptionCode(
                id=self.digest(written),
                created_at=self._means.clock.now(),
                shown=codes.tail(written),
                batch=batch.name,
                tokens=batch.tokens,
                title=batch.title or batch.name,
                valid_days=batch.valid_days,
                expires_at=batch.expires_at,
            )
            added = await self._means.rows.add(row)
            known = added.row
            if added.how != "new" and (known.batch, known.tokens) != (row.batch, row.tokens):
                message = "This idempotency key was used for other codes. Use a new key for new codes."
                return Refusal(Code.KEY_REUSED, message)
            made.append(written)
        return made

    async def redeem(self, ask: Ask, written: str) -> Purchase | Refusal:
        """Bring the code's tokens to the organization, once for all. Raises `StoreDown`; then redeem it again."""
        means = self._means
        read = await self._reader.shopper(ask.organization)
        if isinstance(read, Refusal):
            return read
        number = self.digest(written)
        row = await means.rows.get(RedemptionCode, number)
        while True:
            order = self._order(ask, number)
            ordered = order_code(means.ledger.catalog, read[0], order, row)
            if isinstance(ordered, Refusal):
                return ordered
            assert row is not None, "the order would be refused"
            if row.used_at is not None and row.used_by != ask.organization:
                return Refusal(
                    Code.CODE_INVALID, "The code was redeemed before. Each code brings its tokens once."
                )
            if row.used_at is None:
                now = means.clock.now()
                marked = replace(row, used_at=now, used_by=ask.organization, purchase=order.id)
                stored = await means.rows.put(later(marked, now + LEASE_MS))
                if stored is None:
                    row = await means.rows.get(RedemptionCode, number)
                    continue
                row = stored
            return await self._deliver(row, ordered)

    async def revoke(self, number: str) -> RedemptionCode | Refusal:
        """Withdraw a code that was not redeemed yet; `number` is its digest, as lists show it."""
        row = await self._means.rows.get(RedemptionCode, number)
        if row is None:
            return Refusal(Code.CODE_INVALID, "There is no code of this number.")
        revoked = await self._means.change(
            row, lambda known: known if known.used_at is not None else replace(known, revoked=True)
        )
        if not revoked.revoked:
            return Refusal(Code.NOT_POSSIBLE, "The code was redeemed before.")
        return revoked

    async def batch(self, name: str, before: str | None = None, limit: int = 100) -> Sequence[RedemptionCode]:
        """The codes of a batch, without what they are written as."""
        return await self._means.rows.find(RedemptionCode, {"batch": name}, before=before, limit=limit)

    async def attend(self, row: RedemptionCode) -> object:
        """Deliver a code that was marked by a process that has gone. Raises `StoreDown`."""
        if row.used_by is None:
            return await self._means.change(row, lambda known: later(known, None))
        read = await self._reader.shopper(row.used_by)
        assert not isinstance(read, Refusal), "it was there when the code was marked"
        ordered = order_code(
            self._means.ledger.catalog, read[0], self._order(Ask(organization=row.used_by), row.id), row
        )
        assert isinstance(ordered, Purchase), "a marked code is honoured"
        return await self._deliver(row, ordered)

    def digest(self, written: str) -> str:
        """The id of the row of a code, however it is typed; of what cannot be a code it is no row's."""
        plain = codes.read(written)
        return "none" if plain is None else codes.digest(self._key, plain)

    def _seed(self, key: str, number: int) -> str:
        """What a code is made from under a key: nobody can tell it who has not the till's secret."""
        return blake2b(f"{number}:{key}".encode(), key=self._key, person=b"codes of a key").hexdigest()

    def _order(self, ask: Ask, number: str) -> Order:
        return Order(
            id=purchase_id("code", number),
            now=self._means.clock.now(),
            mode="free",
            source=ask.source,
            user=ask.user,
        )

    async def _deliver(self, row: RedemptionCode, ordered: Purchase) -> Purchase | Refusal:
        placed = await self._checkout.place(ordered, (), Terms())
        await self._means.change(row, lambda known: later(known, None))
        return placed


def _write(secret: str) -> str:
    """A code from a random text."""
    return codes.make(blake2b(secret.encode(), digest_size=codes.BYTES, person=b"a code").digest())


def _wrong(batch: Batch, now: int) -> Refusal | None:
    figures = (("tokens", batch.tokens, TOKENS_MAX), ("count", batch.count, CODES_MAX))
    for name, figure, most in figures:
        if type(figure) is not int or not 1 <= figure <= most:
            return Refusal(Code.INVALID, f"{name} must be a whole number from 1 to {most}.", detail=name)
    if not batch.name.strip() or len(batch.name) > 100:
        return Refusal(Code.INVALID, "A batch needs a name of at most 100 characters.", detail="name")
    if batch.valid_days is not None and not (
        type(batch.valid_days) is int and 1 <= batch.valid_days <= 36_500
    ):
        return Refusal(
            Code.INVALID, "valid_days must be a whole number from 1 to 36500.", detail="valid_days"
        )
    if batch.expires_at is not None and batch.expires_at <= now:
        return Refusal(Code.INVALID, "expires_at must lie in the future.", detail="expires_at")
    return None
