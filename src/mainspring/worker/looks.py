"""When a worker looks for work: at every call, and some times after that."""

SOON = 0.010  # seconds after a look that found something: where one job came, others come
ONCE_MORE = 0.025  # longer than brokers hold wake-ups back (20 ms), so a wake-up that was held back is never missed


class Looks:
    """Keeps when to look next, by the clock's `elapsed`; `wake` may be called from any thread."""

    def __init__(self) -> None:
        self.is_woken = True
        self._next_at: float | None = None
        self._last_at = 0.0

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
            self._next_at = self._last_at if self._last_at > now else None
        return was_woken

    def end(self, now: float, *, found: bool, was_woken: bool) -> None:
        """Take note that a look has ended which did not find all that it wanted."""
        if found or was_woken:
            self._last_at = now + ONCE_MORE
            self._next_at = now + (SOON if found else ONCE_MORE)
