"""When to call and when to look, where every worker hears every call: stores that can call share this."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

from mainspring.clock import SECOND
from mainspring.job import Job

# A process wakes workers at most once per WAKE_EVERY seconds, so a job pushed just after a wake-up announces itself
# to nobody. That is safe because whoever was woken, or has just begun to listen, looks once more later.
WAKE_EVERY = 0.020
LOOK_AGAIN_AFTER = 0.025
BACKSTOP = 5.0
SOON = 15 * SECOND  # a job that falls due later than this finds workers that have looked meanwhile


def is_soon(job: Job, now: int) -> bool:
    """Must workers hear of this new job, because it is ready or falls due before they look by themselves?"""
    return job.due_at is None or job.due_at < now + SOON


class Calls:
    """Says whether this process may call now, or has done so in the last `every` seconds, at most WAKE_EVERY."""

    def __init__(self, every: float = WAKE_EVERY) -> None:
        self._every = every
        self._called_at = -math.inf

    def are_due(self) -> bool:
        """Return whether to call, and take note of it."""
        now = time.monotonic()
        if now < self._called_at + self._every:
            return False
        self._called_at = now
        return True

    @contextmanager
    def made_if(self, call: bool) -> Iterator[bool]:
        """Say whether the block is to call, if that is asked for at all; a block that fails has not called."""
        before, is_due = self._called_at, call and self.are_due()
        try:
            yield is_due
        except BaseException:
            self._called_at = before
            raise


class WakeListener(ABC):
    """Hears of the calls of `wake`; what was heard is what stores do differently."""

    hears_calls = True

    def __init__(self) -> None:
        self._look_again_at = time.monotonic() + LOOK_AGAIN_AFTER

    @property
    def interval(self) -> float:
        return max(0.0, min(BACKSTOP, self._look_again_at - time.monotonic()))

    def has_news(self) -> bool:
        now = time.monotonic()
        if self._was_woken():
            self._look_again_at = now + LOOK_AGAIN_AFTER
            return True
        if now >= self._look_again_at:
            self._look_again_at = math.inf
            return True
        return False

    @abstractmethod
    def fileno(self) -> int | None: ...

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def _was_woken(self) -> bool:
        """Take in what has come, and say whether it was a call."""
