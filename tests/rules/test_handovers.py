"""When a purchase brings a key, how it is made, what links open, and the three clocks."""

import pytest
from msgspec.structs import replace

from tests.support.desk import preset
from tokentill.rules import keys, links
from tokentill.rules.catalog import Catalog
from tokentill.rules.catalog_file import load
from tokentill.rules.handovers import (
    KEPT_MS,
    TARGETS,
    Measured,
    Times,
    handed_over,
    handover_id,
    key_of,
    key_when,
    measured,
)
from tokentill.rules.links import Link
from tokentill.rules.purchases import Kind, Purchase
from tokentill.rules.rows import Handover

# R-SALE-1, R-SALE-4, R-SALE-8

SECRET = b"the secret of a till, 32 bytes.."
SHOP, GOALS = preset("shop"), preset("goals")


def purchase(kind: Kind = "pack", item: str = "gpt_4_professional") -> Purchase:
    return Purchase(
        id="a" * 32,
        organization="acme",
        created_at=1_000,
        kind=kind,
        item=item,
        title="",
        currency="USD",
        amount=0,
    )


def says(catalog: Catalog, checkout: str | None, pack: str | None) -> Catalog:
    packs = {name: replace(one, key=pack) for name, one in catalog.packs.items()}
    return replace(catalog, packs=packs, checkout=replace(catalog.checkout, key=checkout))


@pytest.mark.parametrize(
    ("catalog", "checkout", "pack", "when"),
    [
        (SHOP, None, None, "first"),
        (GOALS, None, None, "never"),
        (GOALS, "always", None, "always"),
        (SHOP, "never", None, "never"),
        (SHOP, "never", "always", "always"),
        (SHOP, "always", "never", "never"),
    ],
)
def test_when_a_purchase_brings_a_key(
    catalog: Catalog, checkout: str | None, pack: str | None, when: str
) -> None:
    item = next(iter(catalog.packs))
    assert key_when(says(catalog, checkout, pack), purchase(item=item)) == when


def test_a_catalog_file_says_it_for_everything_or_for_one() -> None:
    text = """
name = "keys"
[checkout]
key = "never"
[features.x]
title = "X"
tokens = 1
[plans.p]
title = "P"
price = "1.00"
tokens = 5
key = "always"
[packs.q]
title = "Q"
tokens = 5
price = "1.00"
"""
    catalog, _ = load(text, "keys.toml")
    assert (catalog.checkout.key, catalog.plans["p"].key, catalog.packs["q"].key) == ("never", "always", None)
    assert key_when(catalog, purchase("plan", "p")) == "always"
    assert key_when(catalog, purchase("pack", "q")) == "never"
    assert key_when(catalog, purchase("code", "whatever")) == "never"


@pytest.mark.parametrize(
    ("kind", "source", "waits"),
    [
        ("pack", "customer", True), ("code", "customer", True), ("plan", "customer", True), ("pack", "topup", False),
        ("upgrade", "customer", True), ("renewal", "provider", False), ("overage", "operator", False),
    ],
)  # fmt: skip
def test_what_is_handed_over(kind: Kind, source: str, waits: bool) -> None:
    assert handed_over(replace(purchase(kind), source=source)) is waits


def test_the_key_is_the_same_each_time_and_nobody_elses() -> None:
    row = Handover(id=handover_id(purchase()), organization="acme", purchase="a" * 32, seed="s")
    key = key_of(SECRET, row, 0)
    assert key is not None
    assert key == key_of(SECRET, row, 0)
    assert keys.read(keys.write(key)) == key
    others = [
        key_of(bytes(32), row, 0),
        key_of(SECRET, replace(row, seed="t"), 0),
        key_of(SECRET, replace(row, organization="b"), 0),
    ]
    assert len({one.secret for one in (*others, key) if one is not None}) == 4
    assert key_of(SECRET, replace(row, seed=""), 0) is None
    assert key_of(SECRET, row, KEPT_MS - 1) == key
    assert key_of(SECRET, row, KEPT_MS) is None


def test_a_link_opens_what_it_says_until_its_time_is_over_and_cannot_be_changed() -> None:
    link = Link("acmé", 2_000, "p1", "k1")
    text = links.write(SECRET, link)
    assert links.read(SECRET, text, 1_999) == link
    assert links.read(SECRET, text, 2_000) is None
    assert links.read(bytes(32), text, 0) is None
    raw = bytes.fromhex(text)
    for at in range(len(raw)):
        changed = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        assert links.read(SECRET, changed.hex(), 0) is None
    for wrong in ("", "x", "é", "ab", "ab" * 2_000, text[:-6]):
        assert links.read(SECRET, wrong, 0) is None


def test_the_clocks_are_counted_and_what_has_not_happened_is_not() -> None:
    def times(offered: int | None, paid: int | None, ready: int | None, called: int | None) -> Times:
        return Times(
            purchase="p", organization="o", title="", offered_at=offered, ordered_at=1_000, paid_at=paid, ready_at=ready,
            first_call_at=called,
        )  # fmt: skip

    every = [
        times(0, 30_000, 31_999, 329_999), times(None, 30_999, 32_999, None), times(None, None, None, None),
        times(5_000, 4_000, 3_000, 4_000),
    ]  # fmt: skip
    assert measured(every) == (
        Measured(clock="offer_to_paid", target=30_000, count=3, within=2, median=29_999, p95=30_000),
        Measured(clock="paid_to_key", target=2_000, count=3, within=2, median=1_999, p95=2_000),
        Measured(clock="paid_to_first_call", target=300_000, count=2, within=2, median=0, p95=299_999),
    )
    assert list(TARGETS.values()) == [30_000, 2_000, 300_000]
    assert [one.count for one in measured([])] == [0, 0, 0]
