"""The one source of time: every moment that is stored or compared comes from a Clock."""

import time
from datetime import UTC, datetime, timedelta

SECOND = 1_000_000  # microseconds, the unit of a moment

# CLOCK_MONOTONIC stands still while a machine is suspended, so a lease would seem young after a night's sleep.
_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC) if hasattr(time, "clock_gettime") else None


def to_moment(value: datetime) -> int:
    """Return an aware datetime as a moment: whole microseconds since the epoch."""
    delta = value - datetime.fromtimestamp(0, UTC)
    return (delta.days * 86_400 + delta.seconds) * SECOND + delta.microseconds


def to_datetime(moment: int | None) -> datetime | None:
    """Return a moment as an aware UTC datetime; None stays None. Raise ValueError for what is no date."""
    try:
        return None if moment is None else datetime.fromtimestamp(0, UTC) + timedelta(microseconds=moment)
    except (TypeError, OverflowError) as error:
        raise ValueError(f"The stored moment {moment!r:.100} is no date: {error}.") from error


class Clock:
    """
    Tells the time for one broker.

    Until the first `sync` it follows the system's clock. From then on it counts on from the store's own time by a
    clock that nobody sets, so a jump of the system's clock cannot start a deferred job early. Processes of one machine
    can hand the `offset` on. Tests move it with `travel`.
    """

    def __init__(self) -> None:
        self._travelled = 0
        # By how many microseconds the store's time is ahead of this machine's time since it was started.
        self.offset: int | None = None

    def moment(self) -> int:
        """Return the time now in microseconds since the epoch."""
        if self.offset is None:
            return time.time_ns() // 1000 + self._travelled
        return _boottime_us() + self.offset + self._travelled

    def elapsed(self) -> float:
        """Return seconds that only ever grow, time spent suspended included; for leases and delays."""
        return (_boottime_us() + self._travelled) / SECOND

    @property
    def travelled(self) -> int:
        """By how many microseconds tests have moved this clock; a store that asks its own adds them."""
        return self._travelled

    def sync(self, store_moment: int) -> None:
        """Take the store's time, just read, as the time now."""
        self.offset = store_moment - _boottime_us()

    def travel(self, by: timedelta | float) -> None:
        """Move this clock by a timedelta or a number of seconds."""
        seconds = by.total_seconds() if isinstance(by, timedelta) else by
        self._travelled += round(seconds * SECOND)


def _boottime_us() -> int:
    if _BOOTTIME is None:
        return time.monotonic_ns() // 1000
    return time.clock_gettime_ns(_BOOTTIME) // 1000
