"""Outcomes on their way to the store: gathered for a moment, written in one statement, never dropped."""

import logging
from collections import deque
from collections.abc import Callable

from mainspring.brokers.base import Broker
from mainspring.conf import Options
from mainspring.exceptions import BrokerUnavailable
from mainspring.worker.execution import Execution, Ran
from mainspring.worker.rows import pop_all

logger = logging.getLogger("mainspring.worker")


class Outcomes:
    """
    Holds what became of jobs until it is stored: once there are `flush_jobs` of them, or one is `flush_after` old.

    While the store writes one batch the next gathers, so what runs twice when this process is killed is bounded by
    what it holds, LIMIT in `pace.py`. `add` may be called from any thread; `notice` is called when there is a first
    outcome to look after, and when there are enough for a batch.
    """

    def __init__(self, broker: Broker, options: Options, execution: Execution, notice: Callable[[], None]) -> None:
        self._broker = broker
        self._options = options
        self._execution = execution
        self._notice = notice
        self._waiting: deque[Ran] = deque()
        self._since = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def due_at(self) -> float:
        """When the oldest outcome has waited long enough, by the clock's `elapsed`."""
        return self._since + self._options.flush_after

    def add(self, ran: Ran) -> None:
        if not self._waiting:
            self._since = self._broker.clock.elapsed()
            self._waiting.append(ran)
            self._notice()
            return
        self._waiting.append(ran)
        if len(self._waiting) == self._options.flush_jobs:
            self._notice()

    def is_due(self, elapsed: float) -> bool:
        return bool(self._waiting) and (len(self._waiting) >= self._options.flush_jobs or elapsed >= self.due_at)

    def flush(self) -> list[Ran]:
        """
        Store everything that is here and return what the store accepted.

        Raise BrokerUnavailable with nothing lost when the store is away. What the store refuses to take is stored as
        a failure instead; what no longer belongs to this worker is dropped and said so.
        """
        rans = list(pop_all(self._waiting))
        if not rans:
            return []
        try:
            accepted, refused = self._broker.settle_each([ran.job for ran in rans])
        except BrokerUnavailable:
            self._waiting.extendleft(reversed(rans))
            raise
        reasons = {job.id: error for job, error in refused}
        self._waiting.extend(
            self._execution.refused(ran, reasons[ran.job.id]) for ran in rans if ran.job.id in reasons
        )
        for ran in rans:
            if ran.job.id not in accepted and ran.job.id not in reasons:
                logger.warning(
                    "Job %s (%s) ran here, but it is no longer this worker's: its outcome is dropped.",
                    ran.job.id,
                    ran.job.task_path,
                )
        return [ran for ran in rans if ran.job.id in accepted]
