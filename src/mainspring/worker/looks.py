"""When a worker looks for work: at every call, and now and then while jobs keep coming."""

import math

SOON = 0.010  # seconds until the next look in a stream of jobs, of which each call announces several
STREAM = 0.100  # finds that are no further apart make a stream; a job that comes alone costs no look in vain


class Looks:
    """Keeps when to look next, by the clock's `elapsed`; `wake` may be called from any thread."""

    def __init__(self) -> None:
        self.is_woken = True
        self._next_at: float | None = None
        self._found_at = -math.inf

    @property
    def are_over(self) -> bool:
        """Is there no look to come unless somebody calls?"""
        return not self.is_woken and self._next_at is None

    def wake(self) -> None:
        """Look now."""
        self.is_woken = True

    def next_at(self, now: float) -> float | None:
        return now if self.is_woken else self._next_at

    def is_due(self, now: float) -> bool:
        return self.is_woken or (self._next_at is not None and now >= self._next_at)

    def begin(self, now: float) -> bool:
        """Take note that a look begins, whatever the reason; return whether somebody has called for it."""
        was_woken, self.is_woken = self.is_woken, False
        if self._next_at is not None and now >= self._next_at:
            self._next_at = None
        return was_woken

    def found(self, now: float) -> None:
        """Take note that a look has found something, though not all that it wanted."""
        if now < self._found_at + STREAM:
            self._next_at = now + SOON
        self._found_at = now
