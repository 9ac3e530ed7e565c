"""Ends of jobs that the receivers of signals have yet to hear of; threads that run jobs tell them."""

import time
from typing import NamedTuple

from mainspring.exceptions import BrokerUnavailable
from mainspring.worker.execution import Execution, Ran

RETRY_AFTER = 0.2


class EndedHere(NamedTuple):
    """Jobs that ran in this process, whose ends have been stored."""

    rans: list[Ran]

    def announce(self, execution: Execution) -> None:
        """Tell all of them."""
        for ran in self.rans:
            execution.announce(ran)


class EndedElsewhere(NamedTuple):
    """The ids of jobs that somebody without the project's code has ended, to be looked up."""

    ids: list[str]

    def announce(self, execution: Execution) -> "EndedElsewhere | None":
        """Tell all of them; return those that are left, if the store is away."""
        for number, id in enumerate(self.ids):
            try:
                job = execution.broker.get(id)
            except BrokerUnavailable:
                time.sleep(RETRY_AFTER)
                return EndedElsewhere(self.ids[number:])
            if job is not None:
                execution.announce(Ran(job, job))
        return None
