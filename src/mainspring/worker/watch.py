"""Judging which workers are dead: by the silence that this process has itself listened to."""

from collections.abc import Iterable
from typing import NamedTuple

from mainspring.brokers.base import WorkerInfo

# Parts of `rescue_after`. A death is noticed after at most one beat, and believed one lease later; a lease survives
# one lost beat. A worker trusts itself for less than a lease, as nobody can have taken it for dead so early.
BEAT = 1 / 3
LEASE = 0.6
TRUST = 0.5


class Seen(NamedTuple):
    """What a worker's beat was, since when it has been that, and for how long it may be."""

    beat: int
    since: float
    lease: float


class Watch:
    """
    Finds workers whose beat has stood still for a whole `lease` (seconds) of this process's own time, or for longer if
    they say in their facts that they beat more rarely.

    No other machine's clock is asked. After an outage, or when this process itself was stopped, every beat looks old:
    then all watches begin anew.
    """

    def __init__(self, lease: float) -> None:
        self._lease = lease
        self._seen: dict[str, Seen] = {}
        self._looked_at: float | None = None

    def restart(self) -> None:
        """Forget all silence so far: a look failed."""
        self._seen = {}

    def look(self, workers: Iterable[WorkerInfo], elapsed: float) -> list[str]:
        """Take in what the store shows now and return the ids of the dead."""
        if self._looked_at is not None and elapsed - self._looked_at >= self._lease:
            self.restart()
        self._looked_at = elapsed
        before, self._seen = self._seen, {}
        for worker in workers:
            seen = before.get(worker.id)
            since = seen.since if seen is not None and seen.beat == worker.beat else elapsed
            self._seen[worker.id] = Seen(worker.beat, since, self._lease_of(worker))
        return [id for id, seen in self._seen.items() if elapsed - seen.since >= seen.lease]

    def next_look(self, elapsed: float, usual: float) -> float:
        """Return in how many seconds to look again: as `usual`, or sooner when somebody's lease runs out before."""
        silent = [seen for seen in self._seen.values() if elapsed > seen.since]
        ends = [seen.since + seen.lease - elapsed for seen in silent]
        return min([usual, *[seconds for seconds in ends if seconds > 0]])

    def _lease_of(self, worker: WorkerInfo) -> float:
        own = worker.facts.get("rescue_after")
        return max(self._lease, LEASE * own) if isinstance(own, int | float) else self._lease
