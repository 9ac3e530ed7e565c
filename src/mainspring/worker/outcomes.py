"""Outcomes on their way to the store: gathered for a moment, written in one statement, never dropped."""

import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from mainspring import job as machine
from mainspring.brokers.base import Broker
from mainspring.conf import Options
from mainspring.exceptions import BrokerRefused, BrokerUnavailable
from mainspring.job import Job
from mainspring.worker.execution import Execution, Ran

RETRY_AFTER = 0.5
MOST_AT_ONCE = 16_000_000  # characters of results and errors; no database takes a statement of any length

logger = logging.getLogger("mainspring.worker")


class Outcomes:
    """
    Holds what became of jobs until it is stored: once there are `flush_jobs` of them, or one is `flush_after` old.

    While the store writes one batch the next gathers, so what runs twice when this process is killed is bounded by
    what it holds, LIMIT in `pace.py`. `add` may be called from any thread; `notice` is called when there is one after
    `due_at` has said that there is none, and when there are enough for a batch.
    """

    def __init__(self, broker: Broker, options: Options, execution: Execution, notice: Callable[[], None]) -> None:
        self._broker = broker
        self._options = options
        self._execution = execution
        self._notice = notice
        self._waiting: deque[Ran] = deque()
        self._since = 0.0
        self._is_awaited = True  # nobody looks again before there is a notice

    def __len__(self) -> int:
        return len(self._waiting)

    def due_at(self) -> float | None:
        """
        Return when the oldest outcome has waited long enough, by the clock's `elapsed`; None if there is none.

        Then the next one gives notice.
        """
        self._is_awaited = True  # before the look: whoever adds one that it does not see, sees this
        if not self._waiting:
            return None
        self._is_awaited = False
        return self._since + self._options.flush_after

    def add(self, ran: Ran) -> None:
        if not self._waiting:
            self._since = self._broker.clock.elapsed()
        self._waiting.append(ran)
        if self._is_awaited or len(self._waiting) == self._options.flush_jobs:
            self._is_awaited = False
            self._notice()

    def store(self, ran: Ran) -> Ran:
        """
        Store one outcome now, however long the store is away, and return it as it has been stored.

        What the store refuses to take is stored as a failure. `add` it afterwards: a repeated write is harmless.
        """
        while True:
            try:
                _, refused = self._broker.settle_each([ran.job])
            except BrokerUnavailable:
                time.sleep(RETRY_AFTER)
                continue
            if not refused or ran.is_refusal:
                return ran
            ran = self._execution.refused(ran, refused[0][1])

    def is_due(self, elapsed: float) -> bool:
        is_late = elapsed >= self._since + self._options.flush_after
        return bool(self._waiting) and (is_late or len(self._waiting) >= self._options.flush_jobs)

    def flush(self) -> Iterator[list[Ran]]:
        """
        Store everything that is here, batch by batch, and yield of each what the store accepted.

        Raise BrokerUnavailable with nothing lost when the store is away. What the store refuses to take is stored as
        a failure instead; what no longer belongs to this worker is dropped and said so.
        """
        left = len(self._waiting)
        while batch := self.take(left):
            left -= len(batch)
            try:
                accepted, refused = self._broker.settle_each([ran.job for ran in batch])
            except BrokerUnavailable:
                self.take_again(batch)
                raise
            yield self.written(batch, accepted, refused)

    def take(self, most: int = sys.maxsize) -> list[Ran]:
        """Return a batch of what waits here, for somebody else to write; `written` or `take_again` must follow."""
        batch: list[Ran] = []
        size = 0
        while self._waiting and len(batch) < most:
            job = self._waiting[0].job
            size += len(job.result or "") + len(job.errors)
            if batch and size > MOST_AT_ONCE:
                break
            batch.append(self._waiting.popleft())
        return batch

    def take_again(self, batch: Sequence[Ran]) -> None:
        """Take a batch back that could not be written."""
        self._waiting.extendleft(reversed(batch))

    def written(
        self, batch: Sequence[Ran], accepted: Collection[str], refused: Iterable[tuple[Job, BrokerRefused]]
    ) -> list[Ran]:
        """Return what the store has accepted of a batch, and see to the rest."""
        reasons = {job.id: error for job, error in refused}
        ended = self._superseded(batch, accepted)
        known = {*accepted, *reasons, *(ran.job.id for ran in ended)}
        for ran in batch:
            if ran.job.id in reasons:
                self._refuse(ran, reasons[ran.job.id])
            elif ran.job.id not in known:
                logger.warning(
                    "Job %s (%s) ran here, but it is no longer this worker's: its outcome is dropped.",
                    ran.job.id,
                    ran.job.task_path,
                )
        return [ran for ran in batch if ran.job.id in accepted] + ended

    def _superseded(self, batch: Sequence[Ran], accepted: Collection[str]) -> list[Ran]:
        """End what another has the unique key of, and return it as it ended."""
        left = {ran.job.id: ran for ran in batch if ran.job.id not in accepted and machine.may_be_superseded(ran.job)}
        while left:
            try:
                ended = self._broker.supersede([ran.job for ran in left.values()], accepted)
            except BrokerUnavailable:
                time.sleep(RETRY_AFTER)
                continue
            return [replace(left[job.id], job=job) for job in ended]
        return []

    def _refuse(self, ran: Ran, reason: BrokerRefused) -> None:
        """Have an outcome that the store refuses stored as a failure; what it refuses even so is left to a rescue."""
        if ran.is_refusal:
            logger.critical("Job %s stays as it is in the store: its failure is refused too. %s", ran.job.id, reason)
            return
        self.add(self._execution.refused(ran, reason))
