"""What a worker tells whoever looks after it."""

from collections.abc import Collection
from typing import Protocol

from mainspring.clock import Clock


class Reports(Protocol):
    """Hears from a worker; every method may be called from any thread and must be quick."""

    def started(self, slot: int, job_id: str, gives_up_at: float, thread_id: int) -> None:
        """
        The code of this job begins to run; no other running job has the same `slot`.

        By `gives_up_at`, on the monotonic clock, this process will have ended it; 0.0 is never.
        """

    def ended(self, slot: int) -> None:
        """What ran in `slot` has ended."""

    def found_more(self) -> None:
        """A claim came back full: another worker would find work too."""

    def busy(self) -> None:
        """This worker was woken, but has no room for all that it might have found."""

    def deferred(self, due_at: int) -> None:
        """A job was put back until this moment."""

    def retiring(self, reason: str) -> None:
        """This worker claims no more and ends when it can: another may take its place now."""

    def left_alone(self, paths: Collection[str]) -> None:
        """This worker cannot run the tasks at these paths for now; told with every claim, news or not."""

    def is_trusted(self, since: float | None = None) -> bool:
        """Do others surely take this worker for alive, and have they since this moment, by the clock's `elapsed`?"""

    def set_clock(self, clock: Clock) -> None:
        """Set a clock by the store's time, as far as it is known."""


class NoReports:
    """Nobody looks after this worker."""

    def started(self, slot: int, job_id: str, gives_up_at: float, thread_id: int) -> None: ...
    def ended(self, slot: int) -> None: ...
    def found_more(self) -> None: ...
    def busy(self) -> None: ...
    def deferred(self, due_at: int) -> None: ...
    def retiring(self, reason: str) -> None: ...
    def left_alone(self, paths: Collection[str]) -> None: ...
    def is_trusted(self, since: float | None = None) -> bool:
        return True

    def set_clock(self, clock: Clock) -> None: ...
