"""R-PACK-9: who is offered something new is stable, and never loses it when the percentage rises."""

from hypothesis import given
from hypothesis import strategies as st

from tokentill.rules.catalog_shop import Rollout
from tokentill.rules.rollout import PLACES, offered, place

KEY = b"only for tests"


@given(st.text(max_size=40), st.integers(0, 100), st.integers(0, 100))
def test_raising_the_percentage_takes_nothing_away(organization: str, a: int, b: int) -> None:
    # R-PACK-9
    at = place(KEY, organization)
    low, high = sorted((a, b))
    assert offered(Rollout(high), organization, at) or not offered(Rollout(low), organization, at)


@given(st.text(max_size=40))
def test_nobody_at_0_and_everybody_at_100_percent(organization: str) -> None:
    at = place(KEY, organization)
    assert not offered(Rollout(0), organization, at)
    assert offered(Rollout(100), organization, at)
    assert offered(Rollout(0, frozenset({organization})), organization, at)


def test_a_percentage_is_about_that_many() -> None:
    # R-PACK-9: binomial, 20,000 at 10 % is 2,000 ± 42; five deviations
    asked = sum(offered(Rollout(10), f"org-{n}", place(KEY, f"org-{n}")) for n in range(20_000))
    assert abs(asked - 2_000) < 5 * 43


def test_a_place_is_stable_and_depends_on_the_key() -> None:
    # Pinned: another hash would take packs away from organizations that were offered them.
    assert [place(KEY, name) for name in ("acme", "globex", "initech")] == PINNED
    assert place(b"another key", "acme") != place(KEY, "acme")
    assert all(0 <= at < PLACES for at in PINNED)


PINNED = [2960, 9601, 2080]
