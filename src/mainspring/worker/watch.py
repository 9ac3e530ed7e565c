"""Judging which workers are dead: by the silence that this process has itself listened to."""

from collections.abc import Iterable

from mainspring.brokers.base import WorkerInfo

# Parts of `rescue_after`. A death is noticed after at most one beat, and believed one lease later; a lease survives
# one lost beat. A worker trusts itself for less than a lease, as nobody can have taken it for dead so early.
BEAT = 1 / 3
LEASE = 0.6
TRUST = 0.5


class Watch:
    """
    Finds workers whose beat has stood still for a whole `lease` (seconds) of this process's own time.

    No other machine's clock is asked. After an outage, or when this process itself was stopped, every beat looks old:
    then all watches begin anew.
    """

    def __init__(self, lease: float) -> None:
        self._lease = lease
        self._seen: dict[str, tuple[int, float]] = {}
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
            beat, since = before.get(worker.id, (worker.beat, elapsed))
            self._seen[worker.id] = (beat, since) if beat == worker.beat else (worker.beat, elapsed)
        return [id for id, (_, since) in self._seen.items() if elapsed - since >= self._lease]

    def next_look(self, elapsed: float, usual: float) -> float:
        """Return in how many seconds to look again: as `usual`, or sooner when somebody's lease runs out before."""
        silences = [elapsed - since for _, since in self._seen.values() if elapsed > since]
        ends = [self._lease - silence for silence in silences if silence < self._lease]
        return min([usual, *ends])
