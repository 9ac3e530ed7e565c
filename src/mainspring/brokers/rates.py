"""Rates: how much may start in a stretch of time, and the arithmetic of the two ways to count it."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mainspring.clock import SECOND
from mainspring.durations import UNITS

_TEXT = re.compile(r"(\d+)\s*/\s*(\d+(?:\.\d+)?)?\s*([smhd])", re.ASCII)
LARGEST = 1_000_000_000
SLICES = 100  # of a sliding window, so that it is at most a hundredth longer than it should be


@dataclass(frozen=True, slots=True)
class Rate:
    """
    `count` in each `period` (microseconds).

    As a token bucket, at most `burst` start at once and in any stretch of time at most `burst` and what flows in
    meanwhile. As a sliding window, at most `count` start in any stretch as long as the period.
    """

    count: int
    period: int
    burst: int
    is_sliding: bool = False

    def __str__(self) -> str:
        seconds = self.period / SECOND
        return f"{self.count}/{seconds:g}s{' sliding' if self.is_sliding else ''}"

    def time_of(self, cost: int) -> int:
        """Return in how many microseconds so much flows in."""
        return -(-self.period * cost // self.count)


def parse_rate(value: object, burst: int | None = None, is_sliding: bool = False) -> Rate:
    """Return the rate of a text such as "100/m", "5/10s" or "1/2h"; raise ValueError for what is none."""
    match = _TEXT.fullmatch(value.strip()) if isinstance(value, str) else None
    count = int(match[1]) if match else 0
    period = round(float(match[2] or 1) * UNITS[match[3]] * SECOND) if match else 0
    if not 0 < count <= LARGEST or period <= 0:
        raise ValueError(f"a rate is a text like '100/m', '5/10s' or '1000/h', not {value!r:.100}")
    return Rate(count, period, count if burst is None else burst, is_sliding)


class Taken(NamedTuple):
    """What came of an attempt to take: the new state, and the moment from which on to try again if it was in vain."""

    state: "State"
    wait_until: int | None = None


# Of a bucket, the moment at which it is full again. Of a window, in which slices (by their number) how much started.
State = Sequence[tuple[int, int]]
EMPTY: State = ()


def take(rate: Rate, state: State, cost: int, now: int, since: int | None = None) -> Taken:
    """
    Take `cost` at the moment `now`, if there is so much.

    More than there ever is at once is had when nothing of it has been taken, and paid for afterwards.

    `since` is the moment from which on it could be had, for one who was told to wait until then. What comes later by
    less than the time of one is counted from there, or who always comes a little late would never get the rate.
    """
    if rate.is_sliding:
        return _take_from_window(rate, state, cost, now)
    return _take_from_bucket(rate, state, cost, now, since)


def _take_from_bucket(rate: Rate, state: State, cost: int, now: int, since: int | None) -> Taken:
    # The generic cell rate algorithm: what has been taken is a debt that is paid as time passes.
    full_at = state[0][0] if state else 0
    from_ = now if since is None else max(since, now - rate.time_of(1))
    after = max(full_at, min(from_, now)) + rate.time_of(cost)
    earliest = after - rate.time_of(max(rate.burst, cost))
    return Taken(((after, 0),)) if earliest <= now else Taken(state, earliest)


def _take_from_window(rate: Rate, state: State, cost: int, now: int) -> Taken:
    width = -(-rate.period // SLICES)
    kept = [(number, used) for number, used in state if (number + 1) * width + rate.period > now]
    wanted = min(cost, rate.count)
    room = rate.count - sum(used for _, used in kept)
    if room >= wanted:
        number = now // width
        used = sum(used for other, used in kept if other == number)
        return Taken((*((other, used) for other, used in kept if other != number), (number, used + cost)))
    for number, used in sorted(kept):
        room += used
        if room >= wanted:
            return Taken(tuple(kept), (number + 1) * width + rate.period)
    raise AssertionError("unreachable")


def carried(old: Rate | None, new: Rate | None, state: State, now: int) -> State:
    """Return what has been seen of one rate as another sees it: what was taken of the one is taken of the other."""
    if old is None or new is None or old == new:
        return state
    if not old.is_sliding:
        # What is still to be paid for, as a number, which takes the new rate another time.
        used = -(-max(state[0][0] - now, 0) // old.time_of(1)) if state else 0
        slices = [(now, used)]
    else:
        width = -(-old.period // SLICES)
        slices = [(number * width, used) for number, used in state]
    if not new.is_sliding:
        return ((now + new.time_of(sum(used for _, used in slices)), 0),)
    width = -(-new.period // SLICES)
    taken: Counter[int] = Counter()
    for moment, used in slices:
        taken[moment // width] += used
    return tuple(taken.items())


def is_spent(state: State, rate: Rate | None, now: int) -> bool:
    """Does nothing that has been seen matter any more?"""
    if rate is not None and rate.is_sliding:
        width = -(-rate.period // SLICES)
        return all((number + 1) * width + rate.period <= now for number, _ in state)
    return all(full_at <= now for full_at, _ in state)
