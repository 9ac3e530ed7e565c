"""The claims of one process, and the jobs of those whose reply was lost."""

from collections.abc import Collection, Sequence

from mainspring import job as machine
from mainspring.brokers.base import Broker, Turn
from mainspring.exceptions import BrokerUnavailable
from mainspring.job import Job

# Seconds after a claim that ended in an error: at once, and again when a server has had time to end what it was still
# doing for a connection that it did not know to be lost.
LOOK_AFTER = (0.0, 1.0, 15.0)
MOST = 20_000


class Claims:
    """
    Claims jobs for one worker; for one thread.

    A claim can take jobs although its reply is lost. Their worker lives, so nobody would ever rescue them: they are
    looked for by the token of that claim, and given back.
    """

    def __init__(self, broker: Broker, worker_id: str) -> None:
        self._broker = broker
        self._worker_id = worker_id
        self._doubtful: dict[int, list[float]] = {}  # tokens, and when to look for their jobs

    @property
    def look_at(self) -> float | None:
        """When to call `give_back`, by the clock's `elapsed`; None if there is no need."""
        return min((looks[0] for looks in self._doubtful.values()), default=None)

    def claim(
        self,
        outcomes: Sequence[Job],
        queues: Collection[str] | None,
        limit: int,
        skip_tasks: Collection[str],
        *,
        alone: bool,
    ) -> Turn:
        """Settle and claim as the broker does; after an error `look_at` is set."""
        token = machine.new_token()
        try:
            return self._broker.settle_and_claim(
                outcomes, self._worker_id, queues, limit, skip_tasks, alone=alone, token=token
            )
        except BrokerUnavailable:
            now = self._broker.clock.elapsed()
            self._doubtful[token] = [now + seconds for seconds in LOOK_AFTER]
            raise

    def give_back(self) -> None:
        """Give back the jobs that lost replies have named, if it is time to look for them."""
        now = self._broker.clock.elapsed()
        if self.look_at is None or now < self.look_at:
            return
        held = self._broker.held_by([self._worker_id], MOST)
        lost = [job for job in held if job.token in self._doubtful]
        if lost:
            self._broker.settle_each([machine.release(job) for job in lost])
        later = {token: [at for at in looks if at > now] for token, looks in self._doubtful.items()}
        self._doubtful = {token: looks for token, looks in later.items() if looks}
