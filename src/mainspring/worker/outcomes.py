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
from mainspring.job import Job, State
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
        self._later: list[tuple[float, Ran]] = []  # and when to try them again
        self._since = 0.0
        self._is_awaited = True  # nobody looks again before there is a notice

    def __len__(self) -> int:
        return len(self._waiting) + len(self._later)

    def due_at(self) -> float | None:
        """
        Return when the oldest outcome has waited long enough, by the clock's `elapsed`; None if there is none.

        Then the next one gives notice.
        """
        self._is_awaited = True  # before the look: whoever adds one that it does not see, sees this
        later = min((at for at, _ in self._later), default=None)
        if not self._waiting:
            return later
        self._is_awaited = False
        due_at = self._since + self._options.flush_after
        return due_at if later is None else min(due_at, later)

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
        is_due = bool(self._waiting) and (is_late or len(self._waiting) >= self._options.flush_jobs)
        return is_due or any(at <= elapsed for at, _ in self._later)

    def flush(self) -> Iterator[list[Ran]]:
        """
        Store everything that is here, batch by batch, and yield of each what the store accepted.

        Raise BrokerUnavailable with nothing lost when the store is away. What the store refuses to take is stored as
        a failure instead; what no longer belongs to this worker is dropped and said so.
        """
        self._bring_back()
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

    def _bring_back(self) -> None:
        """Let those wait with the others again whose time has come."""
        now = self._broker.clock.elapsed()
        due = [ran for at, ran in self._later if at <= now]
        self._later = [(at, ran) for at, ran in self._later if at > now]
        self._waiting.extend(due)

    def take_again(self, batch: Sequence[Ran]) -> None:
        """Take a batch back that could not be written."""
        self._waiting.extendleft(reversed(batch))

    def written(
        self, batch: Sequence[Ran], accepted: Collection[str], refused: Iterable[tuple[Job, BrokerRefused]]
    ) -> list[Ran]:
        """Return what the store has accepted of a batch, and see to the rest."""
        reasons = {job.id: error for job, error in refused}
        stored = self._as_stored([ran for ran in batch if ran.job.id in accepted])
        for ran in batch:
            if ran.job.id in reasons:
                self._refuse(ran, reasons[ran.job.id])
            elif ran.job.id not in accepted and not self._try_later(ran):
                logger.warning(
                    "Job %s (%s) ran here, but it is no longer this worker's: its outcome is dropped.",
                    ran.job.id,
                    ran.job.task_path,
                )
        return stored

    def _as_stored(self, rans: list[Ran]) -> list[Ran]:
        """Return accepted outcomes as they have become; they are settled again if the store cannot tell now."""
        if not any(machine.may_be_superseded(ran.job) for ran in rans):
            return rans
        try:
            became = self._broker.become([ran.job for ran in rans])
        except BrokerUnavailable:
            self.take_again([ran for ran in rans if machine.may_be_superseded(ran.job)])
            return [ran for ran in rans if not machine.may_be_superseded(ran.job)]
        return [replace(ran, job=job) for ran, job in zip(rans, became, strict=True)]

    def _try_later(self, ran: Ran) -> bool:
        """Keep an outcome that waits for a transaction which may have its unique key, if the job is still ours."""
        if not machine.may_be_superseded(ran.job):
            return False
        try:
            job = self._broker.get(ran.job.id)
        except BrokerUnavailable:
            job = ran.claimed
        is_ours = job is not None and job.state == State.RUNNING and job.token == ran.job.token
        if is_ours:
            self._later.append((self._broker.clock.elapsed() + RETRY_AFTER, ran))
        return is_ours

    def _refuse(self, ran: Ran, reason: BrokerRefused) -> None:
        """Have an outcome that the store refuses stored as a failure; what it refuses even so is left to a rescue."""
        if ran.is_refusal:
            logger.critical("Job %s stays as it is in the store: its failure is refused too. %s", ran.job.id, reason)
            return
        self.add(self._execution.refused(ran, reason))
