"""Running what is ready in the calling thread: for tests, and for code that wants no worker."""

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from dataclasses import replace
from typing import Any

from asgiref.sync import async_to_sync
from django.db import DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from mainspring import job as machine
from mainspring.brokers.base import INLINE, Broker
from mainspring.conf import Options
from mainspring.exceptions import MainspringError
from mainspring.job import Job
from mainspring.worker.admission import admitted
from mainspring.worker.execution import Execution, Ran
from mainspring.worker.known_tasks import KnownTasks

PROMOTED = 1000


class Inline:
    """
    Runs ready jobs one at a time in this thread, also inside a transaction.

    `queues` None means every queue.
    """

    def __init__(self, broker: Broker, options: Options, sender: type, queues: Collection[str] | None = None) -> None:
        self._broker = broker
        self._options = options
        self._queues = queues
        self._execution = Execution(broker, options, sender)
        self._tasks = KnownTasks(broker.clock, tuple(options.task_modules))

    def run_next(self) -> Ran | None:
        """Run the next ready job and store what became of it; return None when there is none."""
        self._broker.promote(PROMOTED)
        while claimed := self._claim(alone=False) or self._claim(alone=True):
            job = claimed[0]
            task = self._tasks.find(job.task_path)
            if task is None:
                self._broker.settle([machine.release(job)])
                continue
            may_run, left, _, broken = admitted(self._broker, self._options, self._tasks, claimed)
            if broken:
                return self._settle(self._execution.not_admitted(*broken[0]))
            if not may_run:
                self._broker.settle([machine.release(each) for each in left])
                continue
            run = async_to_sync(self._execution.arun) if task.is_async else self._execution.run
            with _savepoints():
                ran = copy_context().run(run, job, task)  # async_to_sync would hand the context back
            return self._settle(ran)
        return None

    def _claim(self, *, alone: bool) -> list[Job]:
        return self._broker.claim(INLINE, self._queues, 1, self._tasks.unknown(), alone=alone)

    def _settle(self, ran: Ran) -> Ran:
        accepted, refused = self._broker.settle_each([ran.job])
        if refused:
            return self._settle(self._execution.refused(ran, refused[0][1]))
        if not accepted:
            raise MainspringError(f"Job {ran.job.id} was taken away while it ran; its outcome was dropped.")
        ran = replace(ran, job=self._broker.become([ran.job])[0])
        self._execution.announce(ran)
        return ran


@contextmanager
def _savepoints() -> Iterator[None]:
    """
    Keep a job that breaks a transaction from breaking the one around it (a TestCase's).

    Without a transaction around, this does nothing: the job then runs as it would in a worker.
    """
    with ExitStack() as stack:
        for connection in connections.all(initialized_only=True):
            if connection.in_atomic_block:
                stack.enter_context(_savepoint(connection))
        yield


@contextmanager
def _savepoint(connection: BaseDatabaseWrapper) -> Iterator[None]:
    savepoint: Any = connection.savepoint()
    yield
    if connection.needs_rollback or not _is_committed(connection, savepoint):
        connection.needs_rollback = False
        connection.savepoint_rollback(savepoint)


def _is_committed(connection: BaseDatabaseWrapper, savepoint: Any) -> bool:
    try:
        connection.savepoint_commit(savepoint)
    except DatabaseError:  # PostgreSQL goes on with nothing after an error, of which Django need not know
        return False
    return True
