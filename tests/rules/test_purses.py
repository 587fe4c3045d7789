"""R-SALE-8: a customer's key may have a limit of its own, which holds whatever comes at once."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.desk import Desk
from tokentill.lab import toys
from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules.account import Account, Misfit
from tokentill.rules.evolve import evolve
from tokentill.rules.purses import PURSES_MAX, misfit, purse
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Code

KEY: dict[str, Any] = {"purse": "k1", "purse_max": 10}


def desk(plan: str = "hard", tokens: int = 1_000) -> Desk:
    """On a plan of 20 tokens, with a pack of many more."""
    made = Desk(toys.catalog(), plan)
    if tokens:
        made.ok(c.Grant(tokens=tokens, origin="pack"))
    return made


def counts(till: Desk, name: str = "k1") -> tuple[int, int]:
    """What the key has spent and holds; the holds say the same."""
    assert misfit(till.account.state) is None
    now = purse(till.account, name)
    return now.spent, now.held


def use(tokens: int, **more: Any) -> c.Charge:
    return c.Charge(feature="model", tokens=tokens, **{**KEY, **more})


def hold(till: Desk, tokens: int, **more: Any) -> str:
    return till.ok(c.Reserve(feature="model", tokens=tokens, **{**KEY, **more})).operation


# R-SALE-8: every way in which tokens go and come counts
@pytest.mark.parametrize(
    ("what", "spent", "held"),
    [
        (["charge"], 4, 0),
        (["charge", "refund"], 0, 0),
        (["charge", "refund 1"], 3, 0),
        (["hold"], 0, 6),
        (["hold", "settle"], 6, 0),
        (["hold", "settle 2"], 2, 0),
        (["hold", "settle 0"], 0, 0),
        (["hold", "settle", "refund the settled"], 0, 0),
        (["hold", "settle 2", "refund the settled"], 0, 0),
        (["hold", "release"], 0, 0),
        (["hold", "extend", "release"], 0, 0),
        (["hold", "deadline"], 0, 0),
        (["hold", "deadline", "settle too late"], 0, 0),
        (["hold", "charge", "settle 5"], 9, 0),
    ],
)
def test_what_counts_toward_a_key(what: list[str], spent: int, held: int) -> None:
    till = desk()
    held_as = charged_as = ""
    for each in what:
        match each.split():
            case ["charge"]:
                charged_as = till.ok(use(4)).operation
            case ["hold"]:
                held_as = hold(till, 6)
            case ["settle"]:
                till.ok(c.Settle(hold=held_as))
            case ["settle", "too", "late"]:
                assert till.no(c.Settle(hold=held_as)).code is Code.HOLD_EXPIRED
            case ["settle", tokens]:
                till.ok(c.Settle(hold=held_as, tokens=int(tokens)))
            case ["release"]:
                till.ok(c.Release(hold=held_as))
            case ["extend"]:
                till.ok(c.Extend(hold=held_as, timeout_ms=60_000))
            case ["deadline"]:
                till.wait(hours=25)
                till.ok(c.Tick())
            case ["refund", "the", "settled"]:
                till.ok(c.Refund(operation=held_as))
            case ["refund", *some]:
                till.ok(c.Refund(operation=charged_as, tokens=int(some[0]) if some else None))
            case _:
                raise AssertionError(each)
    assert counts(till) == (spent, held)
    assert till.replayed().dump() == till.account.dump()
    assert Account.load(till.account.dump()).dump() == till.account.dump()


# R-SALE-8, R-ABU-8: what a key of 10 tokens gets, once it has spent and holds so many
@pytest.mark.parametrize(
    ("spent", "held", "asked", "least", "answer"),
    [
        (0, 0, 10, None, 10),
        (0, 0, 11, None, Code.KEY_LIMIT),
        (7, 0, 3, None, 3),
        (7, 0, 4, None, Code.KEY_LIMIT),
        (10, 0, 1, None, Code.KEY_LIMIT),
        (10, 0, 0, None, 0),
        (4, 3, 3, None, 3),
        (4, 3, 4, None, Code.HELD),  # the 3 may come back
        (4, 3, 6, None, Code.HELD),
        (4, 3, 7, None, Code.KEY_LIMIT),  # even if they do
        (4, 0, 50, 6, 6),  # cut down to what the key may use still
        (4, 0, 50, 1, 6),
        (4, 0, 50, 7, Code.KEY_LIMIT),
        (4, 3, 50, 3, 3),
        (4, 3, 50, 4, Code.HELD),
        (4, 6, 50, 1, Code.HELD),
        (10, 0, 50, 1, Code.KEY_LIMIT),
    ],
)
def test_a_key_gets_no_more_than_its_limit(
    spent: int, held: int, asked: int, least: int | None, answer: int | Code
) -> None:
    till = desk()
    if spent:
        till.ok(use(spent))
    if held:
        hold(till, held)
    ask = c.Reserve(feature="model", tokens=asked, least=least, purse="k1", purse_max=10)
    if isinstance(answer, Code):
        refusal = till.no(ask)
        said = (refusal.code, refusal.balance, refusal.needed, refusal.held, refusal.detail)
        assert said == (answer, 10 - spent - held, least or asked, held, "10")
        assert (refusal.retry_after_ms is None) == (answer is Code.KEY_LIMIT)
        assert counts(till) == (spent, held)
    else:
        assert till.ok(ask).tokens == answer
        assert counts(till) == (spent, held + answer)


def test_the_message_says_what_is_left_and_what_to_do() -> None:
    till = desk()
    till.ok(use(7))
    refusal = till.no(use(4))
    assert refusal.message == (
        "This key may use 10 tokens in all. 3 of them are left, and this needs 4. "
        "Use another key, or make one with a higher limit."
    )
    assert (refusal.layer, refusal.status, refusal.ways_out) == ("key", "prevented", ())


# R-SALE-8, R-ABU-8: after what concerns the organization as a whole, before its balance
@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        ("too large", Code.TOO_LARGE),
        ("payment failed", Code.LICENCE),
        ("not in the plan", Code.NOT_IN_PLAN),
        ("too many holds", Code.HOLDS_MAX),
        ("nothing left", Code.KEY_LIMIT),
        ("everything held", Code.KEY_LIMIT),
    ],
)
def test_its_place_in_the_order(trouble: str, code: Code) -> None:
    till = desk(tokens=0)
    ask = c.Reserve(feature="model", tokens=11, purse="k1", purse_max=10)
    if trouble == "too large":
        ask = c.Reserve(feature="goal", quantity=9, purse="k1", purse_max=10)
    elif trouble == "payment failed":
        till.ok(c.Freeze())
    elif trouble == "not in the plan":
        ask = c.Reserve(feature="only", quantity=9, purse="k1", purse_max=10)
    elif trouble == "too many holds":
        for _ in range(till.catalog.holds_max):
            till.hold("ask")
    elif trouble == "nothing left":
        till.charge("model", tokens=20)
    elif trouble == "everything held":
        till.hold("model", tokens=20)
    assert till.no(ask).code == code


# R-SALE-8: the balance decides as ever where the key allows it, and cuts down further
def test_the_balance_still_counts() -> None:
    till = desk(tokens=0)  # 20 tokens
    till.ok(use(15, purse="k2", purse_max=100))
    assert till.no(use(6)).code is Code.EXHAUSTED
    ask = c.Reserve(feature="model", tokens=50, least=1, purse="k1", purse_max=10)
    assert till.ok(ask).tokens == 5
    assert (counts(till), counts(till, "k2")) == ((0, 5), (15, 0))


@pytest.mark.parametrize("plan", ["overage", "endless", "grace"])
def test_tokens_beyond_the_lots_count_like_any_other(plan: str) -> None:
    till = desk(plan, tokens=0)
    if plan != "endless":
        till.charge("model", tokens=till.view().remaining)
    made = till.ok(use(8))
    assert (made.beyond, counts(till)) == (8, (8, 0))
    assert till.no(use(3)).code is Code.KEY_LIMIT
    till.ok(c.Refund(operation=made.operation, tokens=5))
    assert counts(till) == (3, 0)


# R-SALE-8: a key that replaces another goes on with its purse; another limit is another limit at once
def test_the_limit_is_what_the_caller_says_now() -> None:
    till = desk()
    till.ok(use(10))
    assert till.no(use(1)).code is Code.KEY_LIMIT
    till.ok(use(5, purse_max=15))
    assert till.no(use(1, purse_max=12)).code is Code.KEY_LIMIT
    assert till.no(use(1, purse_max=12)).balance == 0
    till.ok(use(0, purse_max=12))
    till.ok(use(3, purse_max=None))  # counted, without a limit
    assert counts(till) == (18, 0)
    till.ok(use(10, purse="k2"))
    till.ok(c.Charge(feature="model", tokens=100))
    assert (counts(till), counts(till, "k2"), counts(till, "never used")) == ((18, 0), (10, 0), (0, 0))
    assert purse(till.account, "k2").left(25) == 15


# R-LED-9: the limit is no part of the request, so a retry after it was changed is the same request
def test_a_retry_after_the_limit_was_changed() -> None:
    till = desk()
    first = till.ok(use(4), key="call 1")
    again = till.ok(use(4, purse_max=3), key="call 1")
    assert (again.entry, again.replayed, counts(till)) == (first.entry, True, (4, 0))
    assert till.no(use(4, purse="k2"), key="call 1").code is Code.KEY_REUSED
    refused = till.no(use(9), key="call 2")
    assert till.no(use(9, purse_max=50), key="call 2") == refused  # a final refusal is remembered
    hold(till, 6)
    assert till.no(use(3), key="call 3").code is Code.HELD
    assert till.ok(use(3, purse_max=50), key="call 3").tokens == 3  # one that says wait is not


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"purse": None, "purse_max": 5}, "purse"),
        ({"purse": ""}, "purse"),
        ({"purse": "x" * 65}, "purse"),
        ({"purse": "a\nb"}, "purse"),
        ({"purse": 7}, "purse"),
        ({"purse_max": -1}, "purse_max"),
        ({"purse_max": 10**30}, "purse_max"),
        ({"purse_max": True}, "purse_max"),
    ],
)
def test_terms_that_make_no_sense(terms: dict[str, Any], field: str) -> None:
    refusal = desk().no(use(1, **terms))
    assert (refusal.code, refusal.detail) == (Code.INVALID, field)


def test_keys_with_limits_are_counted_up_to_a_number() -> None:
    till = desk()
    till.ok(use(1))
    till.account.state.purses.update({f"old {number}": [1, 0] for number in range(PURSES_MAX - 1)})
    refusal = till.no(use(1, purse="one more"))
    assert (refusal.code, refusal.detail) == (Code.KEY_LIMIT, "keys")
    till.ok(use(1))
    till.ok(c.Charge(feature="ask"))


# R-LED-5: without a key's limit nothing on the record is different
def test_nothing_is_on_record_without_a_purse() -> None:
    till = desk()
    till.ok(c.Settle(hold=till.hold("model", tokens=5), tokens=2))
    till.charge("model", tokens=2)
    till.ok(c.Refund(operation=f"{till._keys:032x}"))
    assert not any(b"purse" in e.encode(entry) for entry in till.journal)
    assert b"purse" not in till.account.dump()


# R-LED-5: a journal that says otherwise does not fit
def test_a_journal_in_which_a_key_exceeds_its_limit_does_not_fit() -> None:
    till = desk()
    till.ok(use(6))
    charged = till.journal[-1]
    assert isinstance(charged, e.Charged)
    lot, _ = charged.moves[0]

    def next_entry(**changes: Any) -> e.Charged:
        fields = {"seq": charged.seq + 1, "time": charged.time, "catalog": "", "key": "f" * 32, "tokens": 5}
        return e.Charged(**{**fields, "moves": ((lot, 5),), "purse": "k1", **changes})

    with pytest.raises(Misfit, match="purse k1 comes to 11 spent and 0 held, of 10"):
        evolve(till.replayed(), next_entry(purse_max=10))
    evolve(till.replayed(), next_entry(purse_max=11))
    held = hold(till, 2)
    with pytest.raises(Misfit, match="its hold does not name"):
        evolve(till.replayed(), next_entry(seq=charged.seq + 2, key=held, part=1, purse="k2"))


# R-SALE-8: never more than it may, in whatever order uses begin and end
@settings(deadline=None, max_examples=60)
@given(st.integers(min_value=0, max_value=2**32), st.integers(min_value=0, max_value=25))
def test_a_key_never_exceeds_its_limit(seed: int, most: int) -> None:
    dice = random.Random(seed)
    till = desk(dice.choice(("hard", "overage", "endless")), tokens=dice.choice((0, 30, 1_000)))
    open_holds: list[tuple[str, int]] = []
    charges: list[str] = []
    for _ in range(60):
        match dice.randrange(7):
            case 0 | 1:
                reply = till.do(use(dice.randrange(1, 9), purse_max=most))
                charges += [reply.operation] if isinstance(reply, Receipt) else []
            case 2 | 3:
                ask = c.Reserve(
                    feature="model",
                    tokens=dice.randrange(1, 12),
                    least=dice.choice((None, 1, 3)),
                    timeout_ms=30_000,
                    purse="k1",
                    purse_max=most,
                )
                reply = till.do(ask)
                open_holds += [(reply.operation, reply.tokens)] if isinstance(reply, Receipt) else []
            case 4 if open_holds:
                key, tokens = open_holds.pop(dice.randrange(len(open_holds)))
                till.do(c.Settle(hold=key, tokens=dice.randrange(tokens + 1)))
                charges.append(key)
            case 5 if open_holds:
                till.do(c.Release(hold=open_holds.pop()[0]))
            case 6 if charges and dice.randrange(2):
                till.do(c.Refund(operation=charges.pop(dice.randrange(len(charges)))))
            case _:
                till.wait(seconds=dice.choice((0, 1, 20, 700)))
        spent, held = counts(till)
        assert spent >= 0
        assert held >= 0
        assert spent + held <= most
    charged = sum(entry.tokens for entry in till.journal if isinstance(entry, e.Charged))
    back = sum(entry.tokens for entry in till.journal if isinstance(entry, e.Refunded))
    assert purse(till.account, "k1").spent == charged - back
