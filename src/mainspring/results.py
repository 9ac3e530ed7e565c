"""Results: the user's view of a stored job, as Django's TaskResult."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf
from typing import Any, Generic, cast

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connections
from django.utils import timezone

from mainspring import outbox, waits
from mainspring.brokers.base import Broker
from mainspring.clock import to_datetime
from mainspring.compat import (
    GenericTaskResult,
    P,
    R,
    TaskError,
    TaskResult,
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_backends,
)
from mainspring.durations import to_seconds
from mainspring.exceptions import BrokerUnavailable, JobFailed, ResultTimeout
from mainspring.explain import Explanation, explain
from mainspring.job import Job, State, decode_list
from mainspring.payload import decode_arguments, decode_result
from mainspring.tasks import stored_task

STATUS = {
    State.DEFERRED: TaskResultStatus.READY,
    State.READY: TaskResultStatus.READY,
    State.PARKED: TaskResultStatus.READY,
    State.WAITING: TaskResultStatus.READY,
    State.RUNNING: TaskResultStatus.RUNNING,
    State.SUCCEEDED: TaskResultStatus.SUCCESSFUL,
    State.FAILED: TaskResultStatus.FAILED,
    State.CANCELLED: TaskResultStatus.FAILED,
    State.DISCARDED: TaskResultStatus.FAILED,
    State.EXPIRED: TaskResultStatus.FAILED,
    State.QUARANTINED: TaskResultStatus.FAILED,
}
WEEK = 604_800.0
SHOWN = 2000  # characters of a traceback in the message of JobFailed
SHORTEST_PAUSE, LONGEST_PAUSE = 0.01, 0.5
GLANCE = 0.001

logger = logging.getLogger("mainspring")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobError(TaskError):  # type: ignore[misc] # frozen, as Django's is; the stubs say otherwise
    """One line of a job's history of errors."""

    worker_id: str | None = None
    attempt: int | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


class Result(GenericTaskResult[P, R], Generic[P, R]):
    """
    What became of an enqueued task, as it was when this was made or refreshed.

    Nothing of the stored job is decoded before it is asked for: a worker makes one for every job, and most are only
    logged.
    """

    __slots__ = ("_job", "is_existing")
    _job: Job
    is_existing: bool  # did the enqueue that returned this meet a job that stands for it? see `mainspring.Unique`

    def __getattr__(self, name: str) -> Any:
        # Python comes here for a slot that is still empty.
        read = _READ.get(name)
        if read is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        value = read(self._job, self.backend)
        object.__setattr__(self, name, value)
        return value

    def __reduce__(self) -> tuple[Any, ...]:
        return result_of, (self._job, self.backend)

    @property
    def state(self) -> str:
        """Where the job is in its life, in more detail than `status`: a value of `mainspring.job.State`."""
        return str(self._job.state)

    @property
    def attempts(self) -> int:
        """How often the task has been run to an end of its own, the present run included."""
        return self._job.attempts + (self._job.state == State.RUNNING)

    @property
    def crashes(self) -> int:
        """How often the worker died under the job."""
        return self._job.crashes

    @property
    def interruptions(self) -> int:
        """How often a worker that had to stop gave the job back unfinished."""
        return self._job.interruptions

    def refresh(self) -> None:
        """Read the job again; raise TaskResultDoesNotExist when it is no longer kept."""
        self._become(cast("Result[P, R]", task_backends[self.backend].get_result(self.id))._job)

    async def arefresh(self) -> None:
        """Do as `refresh`."""
        self._become(cast("Result[P, R]", await task_backends[self.backend].aget_result(self.id))._job)

    def get(self, timeout: timedelta | float | None = None) -> R:
        """
        Wait up to `timeout` (seconds or a timedelta; None: without end) for the task to end, and return its value.

        Raise JobFailed when it ended without success, ResultTimeout when it has not ended in time, NotSentYet inside
        the transaction that has yet to send it, and TaskResultDoesNotExist when the job is not kept.
        """
        deadline = _deadline(timeout)
        while True:
            left = deadline - time.monotonic()
            self._become(self._wait(min(max(left, 0.0), WEEK)))
            if self.is_finished:
                return self._outcome()
            if left <= 0:
                raise self._timed_out(timeout)

    async def aget(self, timeout: timedelta | float | None = None) -> R:
        """
        Do as `get` for async code.

        A few waits of a process are told of the end; those beyond (`mainspring.waits.MOST`), and those for which the
        store has no connection left, ask again and again, every 10 ms at first and every 0.5 s in the end.
        """
        deadline, pause = _deadline(timeout), SHORTEST_PAUSE
        await sync_to_async(self._look)()
        while not self.is_finished:
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._timed_out(timeout)
            job = await self._told(left)
            if job is not None:
                self._become(job)
                continue
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 1.5, LONGEST_PAUSE)
            await self.arefresh()
        return self._outcome()

    def explain(self) -> Explanation:
        """
        Return why the job does not run, or what has become of it, as its store says now; `str` of it is the text.

        Raise BrokerUnavailable when the store cannot be reached.
        """
        return explain(self._broker, self.id)

    async def aexplain(self) -> Explanation:
        """Do as `explain`."""
        return await sync_to_async(self.explain)()

    @property
    def _broker(self) -> Broker:
        backend: Any = task_backends[self.backend]
        return cast(Broker, backend.broker)

    def _wait(self, seconds: float) -> Job:
        job = self._broker.wait_for(self.id, seconds)
        if job is not None:
            return job
        outbox.raise_if_unsent(self._broker, self.id)
        job = outbox.unsent(self._broker, self.id)
        if job is None:
            raise TaskResultDoesNotExist(self.id)
        # Committed, and still to be sent by a worker's sweep: there is nothing that could wake us.
        time.sleep(min(LONGEST_PAUSE, seconds))
        return job

    def _look(self) -> None:
        """Read the job in the thread whose transaction may hold it; raise NotSentYet if one does."""
        self.refresh()
        if self.is_finished:
            return
        outbox.raise_if_unsent(self._broker, self.id)
        if self._broker.using is not None and connections[self._broker.using].in_atomic_block:
            self._broker.wait_for(self.id, GLANCE)  # which knows whether others see the job, and says so

    async def _told(self, seconds: float) -> Job | None:
        """Wait to be told of the end; return None when nobody can tell."""
        try:
            return await waits.wait_for(self._broker, self.id, seconds)
        except BrokerUnavailable as error:
            logger.info("Waiting for job %s by asking again and again: %s", self.id, error)
            return None

    def _become(self, job: Job) -> None:
        for name in _CHANGING:
            with suppress(AttributeError):
                object.__delattr__(self, name)
        object.__setattr__(self, "_job", job)

    def _outcome(self) -> R:
        if self._job.state == State.SUCCEEDED:
            return self.return_value
        last = self.errors[-1] if self.errors else None
        reason = f"{last.exception_class_path}\n{last.traceback[-SHOWN:]}" if last else "no reason was recorded"
        raise JobFailed(f"{self._name} ended as {self.state}: {reason}")

    def _timed_out(self, timeout: object) -> ResultTimeout:
        seconds = "" if isinstance(timeout, timedelta) else " s"
        return ResultTimeout(f"{self._name} is still {self.state} after {timeout}{seconds}.{self._what_it_lacks()}")

    def _what_it_lacks(self) -> str:
        """Return a sentence that helps whoever has waited for a job that nobody has begun."""
        if self._job.state != State.READY:
            return ""
        if not self._broker.is_shared:
            return " Its jobs are in the memory of this process, where mainspring.testing.drain() runs them."
        return f" Is there a worker with room for queue {self._job.queue_name!r}? See `manage.py mainspring status`."

    @property
    def _name(self) -> str:
        return f"Job {self.id} ({self._job.task_path})"


def result_of(job: Job, alias: str) -> Result:
    """Return the result that shows a stored job of this backend."""
    result = object.__new__(Result)
    _set_job(result, job)
    _set_backend(result, alias)
    return result


# 0.4 microseconds a result; assigning to a frozen object by name takes 0.9.
_set_job: Callable[[object, Job], None] = Result.__dict__["_job"].__set__
_set_backend: Callable[[object, str], None] = TaskResult.__dict__["backend"].__set__


def _task(job: Job, alias: str) -> Any:
    return stored_task(job.task_path, job.queue_name, job.priority, alias, shown(job.run_after))


def _errors(job: Job, alias: str) -> list[JobError]:
    return [_error(entry) for entry in decode_list(job.errors) if isinstance(entry, dict)]


def _error(entry: dict[str, Any]) -> JobError:
    return JobError(
        exception_class_path=str(entry.get("exception_class_path", "")),
        traceback=str(entry.get("traceback", "")),
        worker_id=entry.get("worker_id"),
        attempt=entry.get("attempt"),
        started_at=_readable(entry.get("started_at")),
        finished_at=_readable(entry.get("finished_at")),
    )


def _readable(moment: Any) -> datetime | None:
    """Return a moment of the history; a damaged one is left out, so that the rest can be shown."""
    with suppress(ValueError, OverflowError):
        return shown(moment)
    return None


def _worker_ids(job: Job, alias: str) -> list[str]:
    ended = [str(worker_id) for worker_id in decode_list(job.worker_ids)]
    return [*ended, job.worker_id] if job.state == State.RUNNING else ended


_READ: dict[str, Callable[[Job, str], Any]] = {
    "task": _task,
    "id": lambda job, alias: job.id,
    "status": lambda job, alias: STATUS[State(job.state)],
    "enqueued_at": lambda job, alias: shown(job.enqueued_at),
    # The start of a first attempt is stored when it ends.
    "started_at": lambda job, alias: shown(job.started_at or job.last_attempted_at),
    "finished_at": lambda job, alias: shown(job.finished_at),
    "last_attempted_at": lambda job, alias: shown(job.last_attempted_at),
    "args": lambda job, alias: decode_arguments(job.arguments)[0],
    "kwargs": lambda job, alias: decode_arguments(job.arguments)[1],
    "errors": _errors,
    "worker_ids": _worker_ids,
    "is_existing": lambda job, alias: False,
    "_return_value": lambda job, alias: decode_result(job.result),
}
_CHANGING = _READ.keys() - {"task", "id", "is_existing"}


def shown(moment: int | None) -> datetime | None:
    """
    Return a moment as the project has its datetimes: aware, or local and naive where USE_TZ is False.

    Raise ValueError for a stored number that is no date.
    """
    value = to_datetime(moment)
    try:
        return value if value is None or settings.USE_TZ else timezone.make_naive(value)
    except OverflowError as error:  # the last moments of all, east of Greenwich
        raise ValueError(f"The stored moment {moment} is no local date: {error}.") from error


def _deadline(timeout: timedelta | float | None) -> float:
    return inf if timeout is None else time.monotonic() + to_seconds(timeout)
