"""The duties that keep a broker healthy; any worker's caretaker does them, and there is no leader."""

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass

from mainspring import outbox
from mainspring.brokers.base import Broker, WorkerInfo
from mainspring.clock import SECOND
from mainspring.conf import Options
from mainspring.exceptions import BrokerUnavailable
from mainspring.job import ENDS, Job, State
from mainspring.worker.watch import Watch

logger = logging.getLogger("mainspring.worker")

BATCH = 500
PRUNE_EVERY = 60.0
RETRY_AFTER = 1.0
FAR = 3600.0


@dataclass(frozen=True, slots=True)
class Death:
    """A worker that ended, what it was running then (None: nobody knows), and whether it was killed on purpose."""

    worker_id: str
    started: frozenset[str] | None
    was_killed: bool
    reason: str


class Caretaker:
    """
    Beats for workers, rescues what the dead leave, promotes what falls due, sweeps the outbox, prunes what is old.

    `tick` does what is due and says when to call again. `on_ready` is called when jobs may have become ready,
    `on_ended` with jobs that a duty has ended.
    """

    def __init__(
        self, broker: Broker, options: Options, on_ready: Callable[[], None], on_ended: Callable[[list[Job]], None]
    ) -> None:
        self._broker = broker
        self._options = options
        self._on_ready = on_ready
        self._on_ended = on_ended
        self._workers: dict[str, WorkerInfo] = {}
        self._deaths: list[Death] = []
        # A beat each third of the time that a rescue may take, and a lease that survives one lost beat: a death is
        # noticed after at most one beat, and believed one lease later.
        self._beat_every = options.rescue_after / 3
        self._watch = Watch(lease=options.rescue_after * 0.6)
        self._beat_at = self._promote_at = self._prune_at = 0.0
        self._is_away = False

    @property
    def is_settled(self) -> bool:
        """Is everything that ended workers held back in the store?"""
        return not self._deaths

    def add(self, worker: WorkerInfo) -> None:
        """Beat for this worker from now on."""
        self._workers[worker.id] = worker
        self._beat_at = 0.0

    def bury(self, death: Death) -> None:
        """Take back what this worker held, as soon as the store answers."""
        self._workers.pop(death.worker_id, None)
        self._deaths.append(death)

    def expect(self, due_at: int) -> None:
        """Note that a job falls due at this moment."""
        seconds = (due_at - self._broker.clock.moment()) / SECOND
        self._promote_at = min(self._promote_at, self._elapsed() + max(seconds, 0.0))

    def tick(self) -> float:
        """Do what is due; return in how many seconds the next duty is."""
        try:
            self._do_what_is_due()
        except BrokerUnavailable as error:
            if not self._is_away:
                logger.error("The store cannot be used; trying again until it can. %s", error)
            self._is_away = True
            self._watch.restart()
            return RETRY_AFTER
        if self._is_away:
            logger.info("The store can be used again.")
            self._is_away = False
        return max(min(self._beat_at, self._promote_at, self._prune_at) - self._elapsed(), 0.0)

    def leave(self) -> None:
        """Take the workers that are left off the store's list."""
        try:
            self._do_burials()
            self._broker.leave(list(self._workers))
        except BrokerUnavailable as error:
            logger.warning("Could not sign off; others will notice within the lease. %s", error)

    def _elapsed(self) -> float:
        return self._broker.clock.elapsed()

    def _do_what_is_due(self) -> None:
        self._do_burials()
        if self._elapsed() >= self._beat_at:
            self._beat()
        if self._elapsed() >= self._promote_at:
            self._promote()
        if self._elapsed() >= self._prune_at:
            self._prune()

    def _do_burials(self) -> None:
        while self._deaths:
            death = self._deaths[0]
            self._rescue([death.worker_id], death.started, death.was_killed, death.reason)
            self._deaths.pop(0)

    def _beat(self) -> None:
        pulse = self._broker.beat(list(self._workers.values()))
        now = self._elapsed()
        self._rescue_from([worker for worker in pulse.workers if worker.id not in self._workers], now)
        self._beat_at = now + self._watch.next_look(now, self._beat_every)
        # The backstop for every wake-up that was lost on its way.
        if pulse.next_due is not None:
            self.expect(pulse.next_due)
        if outbox.sweep(self._broker):
            self._on_ready()
        self._on_ready()

    def _rescue_from(self, strangers: Collection[WorkerInfo], now: float) -> None:
        lifelines = {worker.id: self._broker.has_lifeline(worker.id) for worker in strangers}
        for worker_id in [id for id, is_held in lifelines.items() if is_held is False]:
            logger.warning("Worker %s has died; its jobs are taken back.", worker_id)
            self._rescue([worker_id], None, False, "The worker that held this job died.")
        for worker_id in self._watch.look([worker for worker in strangers if lifelines[worker.id] is None], now):
            logger.warning("Worker %s has been silent too long; its jobs are taken back.", worker_id)
            self._rescue([worker_id], None, False, "The worker that held this job went silent.")

    def _rescue(
        self, worker_ids: Collection[str], started: Collection[str] | None, was_killed: bool, reason: str
    ) -> None:
        moved = self._broker.rescue(
            worker_ids, max_crashes=self._options.max_crashes, started=started, was_killed=was_killed, reason=reason
        )
        self._broker.leave(worker_ids)
        if not moved:
            return
        ended = [job for job in moved if State(job.state).is_end]
        logger.warning("Took back %d jobs of worker %s; %d were quarantined.", len(moved), *worker_ids, len(ended))
        self._on_ready()
        if ended:
            self._on_ended(ended)

    def _promote(self) -> None:
        next_due = self._broker.promote(BATCH)  # it wakes listeners itself, this worker's own among them
        self._promote_at = self._elapsed() + FAR
        if next_due is not None:
            self.expect(next_due)

    def _prune(self) -> None:
        pruned = prune(self._broker, self._options, BATCH)
        self._prune_at = self._elapsed() + (RETRY_AFTER if pruned >= BATCH else PRUNE_EVERY)


def prune(broker: Broker, options: Options, limit: int, *, dry_run: bool = False) -> int:
    """Delete (or count) up to `limit` jobs of each kind of end that are older than the options keep them."""
    now = broker.clock.moment()
    failures = ENDS - {State.SUCCEEDED}
    pruned = 0
    for states, keep in ((frozenset({State.SUCCEEDED}), options.keep_succeeded), (failures, options.keep_failed)):
        if keep is not None:
            pruned += broker.prune(states, now - round(keep * SECOND), limit, dry_run=dry_run)
    return pruned
