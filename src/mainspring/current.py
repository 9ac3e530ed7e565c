"""The job that the running code belongs to, found from anywhere in its call."""

import math
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING

from mainspring.exceptions import NotInJob

if TYPE_CHECKING:
    from mainspring.limit_handles import LimitHandle


class CurrentJob:
    """One run of a job, for the code that runs in it."""

    __slots__ = ("_ends_at", "attempt", "backend", "id", "queue_name", "task_path")

    def __init__(
        self, id: str, backend: str, task_path: str, queue_name: str, attempt: int, ends_at: float = math.inf
    ) -> None:
        self.id = id
        self.backend = backend
        self.task_path = task_path
        self.queue_name = queue_name
        self.attempt = attempt
        self._ends_at = ends_at

    def __repr__(self) -> str:
        return f"<CurrentJob {self.id} of {self.task_path}, attempt {self.attempt}>"

    def time_left(self) -> float | None:
        """Return how many seconds are left until the job's timeout, None without one, never less than 0."""
        return None if self._ends_at == math.inf else max(self._ends_at - time.monotonic(), 0.0)

    def limit(self, name: str) -> "LimitHandle":
        """Return a limit of the job's backend, to look at, pause or change: `current_job().limit("api").pause(30)`."""
        from mainspring.limit_handles import LimitHandle  # it looks the backend up, which uses us

        return LimitHandle(name, self.backend)


def current_job() -> CurrentJob:
    """
    Return the job that is running here, also deep in its call: in coroutines, and in what `sync_to_async` runs.

    Raise NotInJob where none is. Threads that a task starts itself know nothing of it, unless it hands them
    `contextvars.copy_context()`.
    """
    job = _current.get()
    if job is None:
        raise NotInJob("current_job() was called where no job of Mainspring runs.")
    return job


def make_current(job: CurrentJob) -> None:
    """Make this the current job for the rest of this context; every job runs in one of its own."""
    _current.set(job)


_current: ContextVar[CurrentJob | None] = ContextVar("mainspring_current_job", default=None)
