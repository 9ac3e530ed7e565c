"""The clock: moments, the store's time, and travelling."""

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest

from mainspring.clock import SECOND, Clock, to_datetime, to_moment


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), 0),
        (datetime(1970, 1, 1, 0, 0, 1, 5, tzinfo=UTC), 1_000_005),
        (datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), -1),
        (datetime(2026, 7, 1, 12, tzinfo=UTC), 1_782_907_200_000_000),
        (datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), 253_402_300_799_999_999),
    ],
)
def test_moment_of_a_datetime(value, moment):
    """A moment is whole microseconds since the epoch, exact over the whole range, and leads back."""
    assert to_moment(value) == moment
    assert to_datetime(moment) == value


def test_moment_of_another_zone():
    """The same instant is the same moment in any time zone; it comes back in UTC."""
    tokyo = datetime(2026, 1, 1, 9, tzinfo=timezone(timedelta(hours=9)))

    assert to_moment(tokyo) == to_moment(datetime(2026, 1, 1, tzinfo=UTC))
    assert to_datetime(to_moment(tokyo)).tzinfo is UTC


def test_no_moment():
    """Where there is no moment there is no datetime."""
    assert to_datetime(None) is None


def test_naive_datetimes_are_refused():
    """A datetime without a time zone is nobody's moment."""
    with pytest.raises(TypeError):
        to_moment(datetime(2026, 1, 1))


@pytest.fixture
def system(monkeypatch):
    """The system's clocks, to be set by hand: `time` and `boottime`, in microseconds."""

    class System:
        time, boottime = 1_000 * SECOND, 50 * SECOND

    monkeypatch.setattr(time, "time_ns", lambda: System.time * 1_000)
    monkeypatch.setattr("mainspring.clock._boottime_us", lambda: System.boottime)
    return System


def test_follows_the_system_at_first(system):
    """Before the first sync a clock shows the system's time."""
    clock = Clock()
    system.time += 7

    assert clock.moment() == 1_000 * SECOND + 7


def test_counts_on_from_the_time_of_the_store(system):
    """After a sync a clock counts on from the store's time by the clock that nobody sets."""
    clock = Clock()
    clock.sync(5_000 * SECOND)
    system.boottime += 3 * SECOND

    assert clock.moment() == 5_003 * SECOND


def test_jump_of_the_system_clock(system):
    """Once synced, a clock does not care when somebody sets the system's clock."""
    clock = Clock()
    clock.sync(5_000 * SECOND)
    system.time += 3_600 * SECOND

    assert clock.moment() == 5_000 * SECOND


def test_every_sync_counts(system):
    """Each sync replaces the one before, forwards or backwards."""
    clock = Clock()
    clock.sync(5_000 * SECOND)
    system.boottime += SECOND
    clock.sync(4_000 * SECOND)
    system.boottime += SECOND

    assert clock.moment() == 4_001 * SECOND


@pytest.mark.parametrize("by", [timedelta(minutes=1), 60, 60.0])
def test_travel(system, by):
    """Travelling moves the moment and the elapsed time by the same stretch, a timedelta or seconds."""
    clock = Clock()
    clock.travel(by)

    assert clock.moment() == 1_060 * SECOND
    assert clock.elapsed() == 110


def test_travel_adds_up(system):
    """Travels add up, also back in time, and outlast a sync."""
    clock = Clock()
    clock.travel(100)
    clock.travel(timedelta(seconds=-40))
    clock.sync(5_000 * SECOND)

    assert clock.moment() == 5_060 * SECOND


def test_elapsed(system):
    """Elapsed time grows with the clock that runs on through a suspend, whatever the system's time does."""
    clock = Clock()
    before = clock.elapsed()
    system.boottime += 8 * 3_600 * SECOND
    system.time -= SECOND

    assert clock.elapsed() - before == 8 * 3_600


def test_real_clocks():
    """On a real system the moment is now, and elapsed time does not run backwards."""
    clock = Clock()
    before, elapsed = time.time(), clock.elapsed()

    assert before <= clock.moment() / SECOND + 0.001 <= time.time() + 0.002
    assert clock.elapsed() >= elapsed
