"""The script of the demo: the trace's own moments and sizes, handed out by a seed."""

from collections import Counter, defaultdict

import pytest

from tokentill.lab import trace
from tokentill.lab.demo import script
from tokentill.lab.demo.cast import BURSTING_USER, FLOODING_USER, organizations

FIVE_MINUTES = trace.minutes(27, 5)
RATE = 60


def busiest_minute(moments: list[float]) -> int:
    """The most requests in any 60 seconds."""
    most, start = 0, 0
    for end, moment in enumerate(moments):
        while moment - moments[start] >= 60:
            start += 1
        most = max(most, end - start + 1)
    return most


def test_forty_organizations_have_names_of_their_own() -> None:
    cast = organizations()
    assert len({each.id for each in cast}) == 40
    parts = Counter(each.part for each in cast)
    assert parts == {
        "business": 2, "developer": 23, "small": 11, "grower": 1, "late_payer": 1, "flooder": 1, "burster": 1,
    }  # fmt: skip
    assert {each.plan for each in cast if each.part in ("small", "grower")} == {None}


def test_a_seed_repeats_the_script() -> None:
    first = script.write(FIVE_MINUTES, 6, seed=1)
    assert script.write(FIVE_MINUTES, 6, seed=1) == first
    assert script.write(FIVE_MINUTES, 6, seed=2) != first


def test_moments_and_sizes_are_the_trace_s() -> None:
    written = script.write(FIVE_MINUTES, 6, seed=3)
    assert len(written.requests) == len(FIVE_MINUTES)
    for request, line in zip(written.requests, FIVE_MINUTES, strict=True):
        assert request.at == line.at / 1000 / 6
        assert request.written == line.written
        assert request.read in (line.read, line.read + script.FLOOD_SIZE)
    flood = [each for each in written.requests if each.read > script.FLOOD_SIZE]
    assert len(flood) == script.FLOOD_COUNT
    assert {each.user for each in flood} == {FLOODING_USER}
    assert 49 < written.seconds < 50


def test_everybody_is_asked_for_and_by_weight() -> None:
    written = script.write(trace.hour(), 30, seed=4)
    counts = Counter(each.organization for each in written.requests)
    parts = {each.id: each.part for each in written.cast}
    assert set(counts) == set(parts)
    by_part: dict[str, list[int]] = defaultdict(list)
    for name, count in counts.items():
        by_part[parts[name]].append(count)
    assert min(by_part["business"]) > max(by_part["developer"]) > max(by_part["small"])


@pytest.mark.parametrize("speed", [1.0, 6.0, 30.0, 300.0])
def test_only_the_burst_runs_into_the_rate_limit(speed: float) -> None:
    """R-ABU-2: however fast it is played, no ordinary user exceeds 60 requests in a minute of the clock."""
    moments: dict[tuple[str, str], list[float]] = defaultdict(list)
    for request in script.write(trace.minutes(20, 10), speed, seed=5).requests:
        moments[request.organization, request.user].append(request.at)
    fast = {user for (_, user), found in moments.items() if busiest_minute(found) > RATE}
    assert fast == {BURSTING_USER}


def test_the_stated_share_fails_times_out_or_vanishes() -> None:
    written = script.write(trace.hour(), 30, seed=6)
    fates = Counter(each.fate for each in written.requests)
    total = len(written.requests)
    assert fates["fails"] / total == pytest.approx(0.02, abs=0.004)
    assert (fates["times_out"] + fates["vanishes"]) / total == pytest.approx(0.01, abs=0.003)
    assert fates["vanishes"] > 20
    vanished = [each.at for each in written.requests if each.fate == "vanishes"]
    assert max(vanished) < script.VANISH_UNTIL * written.seconds
    twice = sum(each.twice for each in written.requests)
    assert twice / total == pytest.approx(0.01, abs=0.003)


@pytest.mark.parametrize("minutes", [1, 5])
def test_scenes_are_in_every_script_however_short(minutes: int) -> None:
    written = script.write(trace.minutes(27, minutes), 6, seed=7)
    part = {each.id: each.part for each in written.cast}
    freeze, restore, unblock = written.acts
    assert [act.do for act in written.acts] == ["freeze", "restore", "unblock"]
    assert freeze.at < restore.at < unblock.at
    late = [each.at for each in written.requests if part[each.organization] == "late_payer"]
    assert sum(freeze.at < at < restore.at for at in late) >= 6
    assert sum(at > restore.at for at in late) >= 4
    flood = [each for each in written.requests if each.user == FLOODING_USER]
    assert len([each for each in flood if each.at < unblock.at]) == 2 * script.FLOOD_COUNT
    assert len([each for each in flood if each.at > unblock.at]) == 4
    burst = [each for each in written.requests if each.user == BURSTING_USER]
    assert len(burst) == script.BURST_COUNT


def test_everything_comes_in_order_of_time() -> None:
    written = script.write(FIVE_MINUTES, 6, seed=8)
    moments = [each.at for each in written.in_order()]
    assert moments == sorted(moments)
    assert len(moments) == len(written.requests) + len(written.acts)
