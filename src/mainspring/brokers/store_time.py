"""The store's own time, for processes that do not beat."""

import math
from collections.abc import Callable

from mainspring.clock import SECOND, Clock

ASK_FOR_TIME_EVERY = 60.0
TOLERATED = SECOND // 2  # what a machine's own clock may be off; a better one is not to be had over a network


class StoreTime:
    """Asks the store for the time now and then, by `ask`, and sets the clock by it where that is wrong."""

    def __init__(self, clock: Clock, ask: Callable[[], int]) -> None:
        self._clock = clock
        self._ask = ask
        self._asks_at = -math.inf

    def now(self) -> int:
        """Return the time now in microseconds since the epoch; the store's errors come through."""
        if self._clock.elapsed() >= self._asks_at:
            self._asks_at = self._clock.elapsed() + ASK_FOR_TIME_EVERY
            moment = self._ask()
            if abs(moment - self._clock.moment()) > TOLERATED:
                self._clock.sync(moment)
        return self._clock.moment()
