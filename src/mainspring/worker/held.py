"""The jobs that a process holds: what its claims have taken and it has not settled yet."""

from collections.abc import Collection, Iterable

from mainspring.brokers.base import Broker
from mainspring.exceptions import BrokerUnavailable
from mainspring.job import Job

# After a claim that ended in an error, in seconds: at once, and again when a server has had time to end what it was
# doing for a connection that it did not know to be lost.
LOOK_AFTER = (0.0, 1.0, 15.0)
MOST = 20_000


class Held:
    """
    Claims for one worker, and knows what it holds; all its methods are for one thread.

    A claim may take jobs although its reply is lost. Nobody else would ever run them, as their worker lives.
    """

    def __init__(self, broker: Broker, worker_id: str) -> None:
        self._broker = broker
        self._worker_id = worker_id
        self._claims: set[tuple[str, int | None]] = set()
        self._looks: list[float] = []

    @property
    def look_at(self) -> float | None:
        """When to look for jobs that a lost reply named, by the clock's `elapsed`; None if there can be none."""
        return self._looks[0] if self._looks else None

    def claim(self, queues: Collection[str] | None, limit: int, skip: Collection[str], *, alone: bool) -> list[Job]:
        """Claim jobs as the broker does; after an error `look_at` is set."""
        try:
            jobs = self._broker.claim(self._worker_id, queues, limit, skip, alone=alone)
        except BrokerUnavailable:
            now = self._broker.clock.elapsed()
            self._looks = [now + seconds for seconds in LOOK_AFTER]
            raise
        self._claims.update(map(_claim, jobs))
        return jobs

    def find(self) -> list[Job]:
        """Return the jobs that claims have taken without a word, if it is time to look for them."""
        now = self._broker.clock.elapsed()
        if not self._looks or now < self._looks[0]:
            return []
        held = self._broker.held_by([self._worker_id], MOST)
        self._looks = [moment for moment in self._looks if moment > now]
        found = [job for job in held if _claim(job) not in self._claims]
        self._claims.update(map(_claim, found))
        return found

    def settled(self, jobs: Iterable[Job]) -> None:
        """Take note that these claims are over."""
        self._claims.difference_update(map(_claim, jobs))


def _claim(job: Job) -> tuple[str, int | None]:
    # A job that was taken away while it ran can come back by another claim before its first run ends.
    return job.id, job.token
