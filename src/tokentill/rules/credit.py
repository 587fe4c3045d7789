"""Money credit: what an account has of it, and how a purchase is paid with it.

Credit is a lot whose unit is money: minor units that came from refunds and promotions. It pays for purchases, also
in part, the soonest to expire first, then the oldest. What a purchase that came to nothing had taken is given back
as a new lot that never expires (`tokentill.rules.deliveries`). Credit is no token: it is not part of the balance of
tokens, is not set aside while payment is failed, and never becomes tokens by itself.

Requirement ids: R-REF-4, R-REF-5, R-LED-6.
"""

from __future__ import annotations

from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules.account import NEVER, Lot, State
from tokentill.rules.money import ANY, Coins, payable
from tokentill.rules.receipts import Receipt, receipt
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.turn import Turn, bad_amount

NO_CREDIT = "no_credit"
"""The problem of an order whose credit was gone when it was to be paid with it."""


def lots(state: State) -> list[Lot]:
    """The lots that have credit left, in the order in which they are spent."""
    left = [
        lot for lot in state.lots.values() if lot.unit == "money" and lot.available > 0 and not lot.lapsed
    ]
    return sorted(left, key=lambda lot: (NEVER if lot.expires_at is None else lot.expires_at, lot.id))


def available(state: State) -> int:
    """How much credit there is, in minor units."""
    return sum(lot.available for lot in lots(state))


def usable(price: int, has: int, coins: Coins = ANY) -> int:
    """How much of the price credit pays where there is so much of it: what it would leave too little of stays credit.

    `coins`: what can be paid of the rest.
    """
    rest = payable(max(0, price - has), coins.step)
    return max(0, price - (max(rest, payable(coins.least, coins.step)) if rest else 0))


def spend(turn: Turn, command: c.SpendCredit) -> Receipt | Refusal:
    """Pay for a purchase with credit (R-REF-4); all of the amount or nothing, and 0 so that nothing is paid later."""
    wrong = bad_amount(command.amount, least=0, what="amount")
    if wrong is not None:
        return wrong
    left = command.amount
    moves: list[tuple[int, int]] = []
    for lot in lots(turn.state):
        take = min(left, lot.available)
        left -= take
        if take:
            moves.append((lot.id, take))
    if left:
        has = command.amount - left
        message = f"There is credit for {has} minor units, and {command.amount} were asked for."
        return Refusal(Code.NOT_POSSIBLE, message, needed=command.amount, detail="credit")
    entry = e.CreditSpent(
        **turn.signed(),
        tokens=command.amount,
        moves=tuple(moves),
        reference=command.reference,
        reason=command.reason,
    )
    turn.emit(entry)
    return receipt(entry)
