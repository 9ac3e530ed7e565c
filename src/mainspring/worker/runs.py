"""The runs of one process: what runs in which slot, for how long it may, and what became of it."""

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from asgiref.sync import sync_to_async

from mainspring.job import Job
from mainspring.tasks import Task
from mainspring.worker.connections import drop_connections
from mainspring.worker.execution import Execution, Ran
from mainspring.worker.outcomes import Outcomes
from mainspring.worker.reports import Reports
from mainspring.worker.stacks import stack_of
from mainspring.worker.time_limits import Run, TimeLimits
from mainspring.worker.titles import Title

logger = logging.getLogger("mainspring.worker")


class Claimed(NamedTuple):
    """A job in the hands of this process, with the task that it runs, and since when (by the clock's `elapsed`)."""

    job: Job
    task: Task
    since: float


class Place(NamedTuple):
    """Where a job's code is executed."""

    job_id: str
    thread_id: int
    task: "asyncio.Future[Any] | None"
    run: Run | None


class Runs:
    """
    Runs claimed jobs and hands on their outcomes.

    `untouched` collects jobs that were not begun after all; they are the worker's to give back. `hung` are the slots
    whose code has been given up but goes on; `on_hung` is called when there is a new one.
    """

    def __init__(
        self,
        execution: Execution,
        limits: TimeLimits,
        outcomes: Outcomes,
        reports: Reports,
        on_untouched: Callable[[Job], None],
        on_hung: Callable[[], None],
        title: Title,
    ) -> None:
        self._execution = execution
        self._limits = limits
        self._outcomes = outcomes
        self._reports = reports
        self._on_untouched = on_untouched
        self._on_hung = on_hung
        self._title = title
        self._places: dict[int, Place] = {}
        self._is_closed = False
        self.hung: set[int] = set()

    def in_thread(self, claimed: Claimed, slot: int) -> None:
        """Run a job in this thread."""
        if not self._may_begin(claimed):
            return
        run = self._begin(claimed, slot, None)
        ran = self._execution.run(claimed.job, claimed.task, run)
        if run is not None and run.is_late:
            drop_connections()  # the interruption may have come in the middle of a reply
        is_ours = run is None or self._limits.end(run)
        if is_ours and self._runs_at_most_once(claimed.job):
            self._lift_limit(claimed.job, slot)
            ran = self._outcomes.store(ran)
        self._end(claimed, slot, ran, is_ours)

    async def on_loop(self, claimed: Claimed, slot: int) -> None:
        """Run a job on this event loop."""
        if not self._may_begin(claimed):
            return
        run = self._begin(claimed, slot, asyncio.current_task())
        ran = await self._execution.arun(claimed.job, claimed.task, run)
        is_ours = run is None or self._limits.end(run)
        if is_ours and self._runs_at_most_once(claimed.job):
            self._lift_limit(claimed.job, slot)
            ran = await sync_to_async(self._outcomes.store)(ran)
        self._end(claimed, slot, ran, is_ours)

    def close(self) -> None:
        """Begin no more jobs."""
        self._is_closed = True

    def give_up(self, run: Run) -> None:
        """Fail a job that has taken no notice of its timeout; its code may go on for as long as it likes."""
        self.hung.add(run.slot)
        self.close()
        stack = stack_of(run.thread_id, run.future)
        self._reports.started(run.slot, run.job.id, 0.0, run.thread_id)  # what had to be done about it has been done
        self._outcomes.add(self._execution.given_up(run, stack))
        self._on_hung()

    def stack_of(self, job_id: str) -> str | None:
        """Return where the code of a job stands, None if it does not run here."""
        for place in list(self._places.values()):
            if place.job_id == job_id:
                future = None if place.run is None else place.run.future
                return stack_of(place.thread_id, future or place.task)
        return None

    def _runs_at_most_once(self, job: Job) -> bool:
        """
        Must this job never run twice?

        Then its outcome is stored before it is said to have ended: if this process died in between, it would be taken
        for a job that had not begun.
        """
        return (self._execution.options.max_crashes if job.max_crashes is None else job.max_crashes) == 0

    def _may_begin(self, claimed: Claimed) -> bool:
        # Whoever was stopped for long may have been taken for dead, and the job given to another.
        if self._is_closed or not self._reports.is_trusted(claimed.since):
            self._on_untouched(claimed.job)
            return False
        return True

    def _begin(self, claimed: Claimed, slot: int, task: "asyncio.Future[Any] | None") -> Run | None:
        job, thread_id = claimed.job, threading.get_ident()
        run = self._execution.limited(job, claimed.task, slot)
        self._places[slot] = Place(job.id, thread_id, task, run)
        self._title.show_job(job)
        self._reports.started(slot, job.id, 0.0 if run is None else run.gives_up_at, thread_id)
        return run

    def _lift_limit(self, job: Job, slot: int) -> None:
        # The code has ended; a store that is away for long must not make it look like one that hangs.
        self._reports.started(slot, job.id, 0.0, threading.get_ident())

    def _end(self, claimed: Claimed, slot: int, ran: Ran, is_ours: bool) -> None:
        self._reports.ended(slot)
        self._places.pop(slot, None)
        if is_ours:
            self._outcomes.add(ran)
            return
        self.hung.discard(slot)
        logger.warning(
            "The code of job %s (%s) has come to its end after the job had been given up.",
            claimed.job.id,
            claimed.job.task_path,
        )
