"""What a worker tells whoever looks after it."""

from typing import Protocol


class Reports(Protocol):
    """Hears from a worker; every method may be called from any thread and must be quick."""

    def started(self, slot: int, job_id: str) -> None:
        """The code of this job begins to run; no other running job has the same `slot`."""

    def ended(self, slot: int) -> None:
        """What ran in `slot` has ended."""

    def found_more(self) -> None:
        """A claim came back full: another worker would find work too."""

    def busy(self) -> None:
        """This worker was woken, but has no room for all that it might have found."""

    def deferred(self, due_at: int) -> None:
        """A job was put back until this moment."""


class NoReports:
    """Nobody looks after this worker."""

    def started(self, slot: int, job_id: str) -> None: ...
    def ended(self, slot: int) -> None: ...
    def found_more(self) -> None: ...
    def busy(self) -> None: ...
    def deferred(self, due_at: int) -> None: ...
