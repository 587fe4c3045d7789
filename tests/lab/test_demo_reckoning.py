"""The reckoning of the demo finds whatever does not add up."""

import random
from collections import Counter
from collections.abc import Callable

import pytest

from tokentill import catalogs
from tokentill.lab.demo.reckoning import SCENES, Books, Reckoning, reckon
from tokentill.lab.demo.record import Record, Served
from tokentill.lab.demo.tariff import Tariff
from tokentill.lab.demo.till import Balance, JournalLine
from tokentill.ports import Finding, Verdict
from tokentill.rules import catalog_file
from tokentill.rules.pricing import metered_cost

TARIFF = Tariff(catalogs.preset_text("shop"))


class Evening:
    """An evening on which everything is right, to be spoilt."""

    def __init__(self) -> None:
        small = Record(
            "fig",
            "small",
            plan=None,
            opening=3_000,
            packs=["gpt_4_starter"],
            served=[Served("a", "gpt-4", 1_000, 200), Served("b", "gpt-4", 50, 1)],
            uncharged={"c": "failed", "d": "vanished"},
        )
        large = Record("oak", "developer", plan="developer", served=[Served("e", "gpt-4o-mini", 1_001, 10)])
        parts = {part: Record(part, part, plan="developer") for part, _ in SCENES if part != "small"}
        self.records = {"fig": small, "oak": large, **parts}
        for part, code in SCENES:
            self.records["fig" if part == "small" else part].refusals += Counter({str(code): 1})
        million = Balance(1_000_000, 0, 0, 0)
        self.journals: dict[str, list[JournalLine]] = {
            name: [JournalLine("grant", 1)] for name in self.records
        }
        self.balances = dict.fromkeys(self.records, million)
        self.journals["fig"] += [
            JournalLine("charge", 51, "b"),
            JournalLine("release", 2_000, "d", "timeout"),
            JournalLine("release", 2_000, "c", "failed"),
            JournalLine("charge", 1_200, "a"),
        ]
        self.balances["fig"] = Balance(23_000 - 1_251, 0, 0, 0)
        self.journals["oak"].append(JournalLine("charge", 52, "e"))
        self.balances["oak"] = Balance(0, 1_000_000 - 52, 0, 0)
        self.findings: tuple[Finding, ...] = ()
        self.organizations = len(self.records)
        self.entries = sum(map(len, self.journals.values()))

    def reckoning(self) -> Reckoning:
        books = {name: Books(self.journals[name], self.balances[name]) for name in self.records}
        verdict = Verdict(self.organizations, self.entries, "00", self.findings)
        return reckon(self.records.values(), books, TARIFF, verdict)


def test_a_right_evening_adds_up() -> None:
    reckoning = Evening().reckoning()
    assert [check for check in reckoning.checks if check.wrong] == []
    assert reckoning.adds_up
    rows = {row.organization: row for row in reckoning.rows}
    assert (rows["fig"].own, rows["fig"].journal, rows["fig"].balance) == (1_251, 1_251, 1_251)
    assert (rows["oak"].own, rows["oak"].journal, rows["oak"].balance) == (52, 52, 52)
    assert (rows["fig"].served, rows["fig"].uncharged, rows["fig"].bought) == (2, 2, 1)


def charge_of(evening: Evening, operation: str) -> JournalLine:
    return next(line for line in evening.journals["fig"] if line.operation == operation)


def a_charge_is_off_by_one(evening: Evening) -> None:
    charge_of(evening, "a").tokens += 1


def a_charge_and_its_balance_are_off_by_one(evening: Evening) -> None:
    charge_of(evening, "a").tokens += 1
    evening.balances["fig"].remaining -= 1


def a_balance_is_off_by_one(evening: Evening) -> None:
    evening.balances["fig"].remaining += 1


def two_charges_are_swapped(evening: Evening) -> None:
    first, second = charge_of(evening, "a"), charge_of(evening, "b")
    first.tokens, second.tokens = second.tokens, first.tokens


def a_charge_is_missing(evening: Evening) -> None:
    evening.journals["fig"].remove(charge_of(evening, "b"))
    evening.entries -= 1
    evening.balances["fig"].remaining += 51


def an_operation_is_charged_twice(evening: Evening) -> None:
    evening.journals["fig"].append(JournalLine("charge", 51, "b"))
    evening.entries += 1
    evening.balances["fig"].remaining -= 51


def a_failure_is_charged(evening: Evening) -> None:
    line = charge_of(evening, "c")
    line.kind = "charge"
    evening.balances["fig"].remaining -= line.tokens


def a_hold_never_ended(evening: Evening) -> None:
    evening.journals["fig"].remove(charge_of(evening, "d"))
    evening.entries -= 1


def something_stays_reserved(evening: Evening) -> None:
    evening.balances["fig"] = Balance(23_000 - 1_251 - 7, 0, 7, 1)


def the_chain_is_broken(evening: Evening) -> None:
    evening.findings = (Finding("fig", 2, 2, "its hash does not follow"),)


def an_organization_is_gone(evening: Evening) -> None:
    evening.organizations -= 1


def entries_are_gone(evening: Evening) -> None:
    evening.entries -= 1


def nobody_was_too_fast(evening: Evening) -> None:
    evening.records["burster"].refusals.clear()


def nobody_bought(evening: Evening) -> None:
    evening.records["fig"].packs.clear()
    evening.records["fig"].opening = 23_000


def a_duplicate_was_done_again(evening: Evening) -> None:
    evening.records["oak"].odd.append("a settle sent twice was done twice")


SUMS, SERVED, UNCHARGED, RESERVED, SCENE, ODD, VERIFY = range(7)


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (a_charge_is_off_by_one, {SUMS, SERVED}),
        (a_charge_and_its_balance_are_off_by_one, {SUMS, SERVED}),
        (a_balance_is_off_by_one, {SUMS}),
        (two_charges_are_swapped, {SERVED}),
        (a_charge_is_missing, {SUMS, SERVED}),
        (an_operation_is_charged_twice, {SUMS, SERVED}),
        (a_failure_is_charged, {SUMS, SERVED, UNCHARGED}),
        (a_hold_never_ended, {UNCHARGED}),
        (something_stays_reserved, {RESERVED}),
        (the_chain_is_broken, {VERIFY}),
        (an_organization_is_gone, {VERIFY}),
        (entries_are_gone, {VERIFY}),
        (nobody_was_too_fast, {SCENE}),
        (nobody_bought, {SCENE}),
        (a_duplicate_was_done_again, {ODD}),
    ],
)
def test_what_does_not_add_up_is_found(spoil: Callable[[Evening], None], found: set[int]) -> None:
    evening = Evening()
    spoil(evening)
    reckoning = evening.reckoning()
    assert not reckoning.adds_up
    assert {at for at, check in enumerate(reckoning.checks) if check.wrong} == found


def test_many_cases_are_cut_short() -> None:
    evening = Evening()
    evening.records["oak"].odd += [f"case {at}" for at in range(50)]
    odd = evening.reckoning().checks[ODD]
    assert odd.wrong == ("case 0", "case 1", "case 2", "… and 47 more")


def test_the_tariff_and_the_till_agree_on_every_size(run_seed: int) -> None:
    """Two readers and two ways to round, one price (R-PLAN-3)."""
    catalog, _ = catalog_file.load(catalogs.preset_text("shop"), "shop.toml")
    dice = random.Random(run_seed)
    for _ in range(2_000):
        feature = dice.choice(["gpt-4", "gpt-4o-mini", "text-embedding-3-small"])
        read, written = dice.randrange(20_000), dice.randrange(2_000)
        assert TARIFF.request(feature, read, written) == metered_cost(
            catalog.features[feature], read, written
        )
    for pack in catalog.packs.values():
        assert TARIFF.pack(pack.id) == pack.tokens
    for plan in catalog.plans.values():
        assert TARIFF.plan(plan.id) == plan.tokens
    assert TARIFF.plan(None) == 0
