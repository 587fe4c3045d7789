"""Which refusals each operation can meet, and a count of those that were met."""

from __future__ import annotations

from collections import Counter

from tokentill.rules import commands as c
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Code, Refusal

_KEYED = frozenset({Code.UNKNOWN_ORGANIZATION, Code.KEY_REUSED})
_HOLD = frozenset({Code.UNKNOWN_ORGANIZATION, Code.UNKNOWN_HOLD, Code.HOLD_ENDED})
_USE = _KEYED | {
    Code.INVALID,
    Code.UNKNOWN_FEATURE,
    Code.BLOCKED,
    Code.TOO_LARGE,
    Code.RATE,
    Code.SPACING,
    Code.LICENCE,
    Code.NO_PLAN,
    Code.NOT_IN_PLAN,
    Code.KEY_LIMIT,
    Code.HELD,
    Code.SPENDING_CAP,
    Code.EXHAUSTED,
}

OUTCOMES: dict[type[c.Base], frozenset[Code]] = {
    c.Open: frozenset({Code.INVALID, Code.ORGANIZATION_EXISTS, Code.KEY_REUSED, Code.UNKNOWN_PLAN}),
    c.Advance: _KEYED | {Code.INVALID, Code.NOT_POSSIBLE},
    c.Reserve: _USE | {Code.HOLDS_MAX},
    c.Charge: _USE,
    c.Settle: _HOLD | {Code.INVALID, Code.HOLD_EXPIRED, Code.EXCEEDS_HOLD},
    c.Release: _HOLD,
    c.Extend: _HOLD | {Code.KEY_REUSED, Code.INVALID, Code.HOLD_EXPIRED},
    c.Refund: frozenset(
        {
            Code.INVALID,
            Code.UNKNOWN_ORGANIZATION,
            Code.UNKNOWN_OPERATION,
            Code.EXCEEDS_CHARGE,
            Code.ALREADY_REFUNDED,
            Code.NOT_POSSIBLE,
        }
    ),
    c.Grant: _KEYED | {Code.INVALID},
    c.Adjust: _KEYED | {Code.INVALID, Code.EXCEEDS_UNHELD},
    c.Revoke: _KEYED | {Code.INVALID, Code.UNKNOWN_LOT, Code.EXCEEDS_UNHELD},
    c.SetAside: _KEYED | {Code.INVALID, Code.UNKNOWN_LOT, Code.NOT_POSSIBLE},
    c.GiveBack: _KEYED | {Code.INVALID, Code.UNKNOWN_LOT, Code.NOT_POSSIBLE},
    c.SpendCredit: _KEYED | {Code.INVALID, Code.NOT_POSSIBLE},
    c.Freeze: _KEYED | {Code.INVALID},
    c.Restore: _KEYED | {Code.NOT_POSSIBLE},
    c.ChangePlan: _KEYED | {Code.INVALID, Code.UNKNOWN_PLAN, Code.NOT_POSSIBLE},
    c.Reset: _KEYED | {Code.INVALID, Code.UNKNOWN_PLAN, Code.NOT_POSSIBLE},
    c.SetCap: _KEYED | {Code.INVALID},
    c.Attempt: _KEYED | {Code.INVALID},
    c.Unblock: _KEYED | {Code.INVALID, Code.NOT_POSSIBLE},
    c.CountRefusals: _KEYED | {Code.INVALID},
    c.Review: _KEYED,
    c.Tick: _KEYED,
}
"""The refusals each operation can meet. What is not listed cannot happen, and a rig fails when it does.

Why the others cannot: codes of uses (`unknown_feature`, and all from `blocked` to `exhausted`) belong to
Reserve and Charge alone, and only a hold can be one too many. Settle, Release and Refund are keyed by
the operation they are about, so no key of theirs is ever reused, and they never learn of another's hold or
charge. Release of a hold that timed out gives the answer of that end: nothing is charged either way. Restore,
Review and Tick name no amount that could be invalid; a review is taken whatever it
says. Freeze and Restore concern the whole account, so no lot or hold of theirs can be unknown.
"""

ALWAYS_REFUSED: tuple[type[c.Base], ...] = (c.Attempt,)
"""An attempt is a refusal by nature: there is no done to reach."""


class Coverage:
    """How often each operation ended in each way; None stands for done."""

    def __init__(self) -> None:
        self.seen: Counter[tuple[type[c.Base], Code | None]] = Counter()

    def mark(self, command: c.Base, reply: Receipt | Refusal) -> None:
        """Count one answer."""
        self.seen[type(command), reply.code if isinstance(reply, Refusal) else None] += 1

    def missing(self) -> list[str]:
        """What `OUTCOMES` says can happen and did not."""
        wanted: set[tuple[type[c.Base], Code | None]] = set()
        for kind, codes in OUTCOMES.items():
            wanted |= {(kind, code) for code in codes}
            if kind not in ALWAYS_REFUSED:
                wanted.add((kind, None))
        return sorted(_label(*cell) for cell in wanted - self.seen.keys())

    def surprising(self) -> list[str]:
        """What happened and is not in `OUTCOMES`."""
        return sorted(
            _label(kind, code)
            for kind, code in self.seen
            if (kind in ALWAYS_REFUSED if code is None else code not in OUTCOMES[kind])
        )


def _label(kind: type[c.Base], code: Code | None) -> str:
    return f"{kind.__struct_config__.tag} {'done' if code is None else code.value}"
