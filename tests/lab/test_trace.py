from tokentill.lab import trace
from tokentill.rules.durations import MINUTE_MS


def test_the_hour_is_what_was_published() -> None:
    lines = trace.hour()
    assert len(lines) == 19_366
    assert lines[0] == trace.Line(0, 374, 44)
    assert lines[1] == trace.Line(4_315, 396, 109)
    assert lines[-1] == trace.Line(3_501_722, 197, 183)
    assert sum(line.read for line in lines) == 22_361_870
    assert sum(line.written for line in lines) == 4_088_665
    assert list(lines) == sorted(lines, key=lambda line: line.at)


def test_minutes_count_from_their_own_beginning() -> None:
    five = trace.minutes(27, 5)
    assert len(five) == 2_364
    assert 0 <= five[0].at < five[-1].at < 5 * MINUTE_MS
    assert trace.minutes(0, 60) == trace.hour()
    assert trace.minutes(60, 5) == ()
