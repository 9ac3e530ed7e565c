"""The duties that keep a broker healthy; any worker's caretaker does them, and there is no leader."""

import logging
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mainspring import job as machine
from mainspring.brokers.base import INLINE, Broker, Pulse, Question, WorkerInfo
from mainspring.clock import SECOND
from mainspring.conf import Options
from mainspring.exceptions import BrokerRefused, BrokerUnavailable, TimeLimitExceeded, WrongSite
from mainspring.job import ENDS, Job, State
from mainspring.worker.lifelines import Lifelines
from mainspring.worker.watch import BEAT, LEASE, TRUST, Watch

logger = logging.getLogger("mainspring.worker")

BATCH = 500
PRUNE_EVERY = 60.0
PRUNE_AT_LEAST_EVERY = 3600.0
PATIENCE = 20  # by which part of the time for which jobs are kept some may be pruned later
RETRY_AFTER = 1.0
FAR = 3600.0
LOOK_FOR_UNKNOWN_EVERY = 30.0
ASK_EVERY = 1.0  # seconds between two looks for questions while jobs run; the beat asks too


@dataclass(frozen=True, slots=True)
class Death:
    """
    A worker that ended, what it was running then (None: nobody knows), and whether it was killed on purpose.

    `was_seen` is False where its supervisor died too, and only the silence was noticed.
    `overrun` are jobs for which it was killed because they took no notice of their timeout, with where each stood.
    Until `forget` is called the worker does not look dead to others of this machine, who know less about it.
    """

    worker_id: str
    started: frozenset[str] | None
    was_killed: bool
    reason: str
    was_seen: bool = True
    overrun: Mapping[str, str] = field(default_factory=dict)
    forget: Callable[[], None] = lambda: None


class Crew(Protocol):
    """The processes that the caretaker looks after, and that do what needs the project's code."""

    def infos(self) -> list[WorkerInfo]: ...
    def trust(self, since: float, until: float, clock_offset: int) -> None: ...
    def are_running_jobs(self) -> bool: ...
    def wake(self) -> None: ...
    def sweep(self) -> None: ...
    def announce(self, ids: Collection[str]) -> None: ...


class Caretaker:
    """
    Beats for workers, rescues what the dead leave, promotes what falls due, has the outbox swept, prunes what is old.

    `tick` does what is due and says when to call again. `on_question` hears what somebody asks of one of the workers.
    """

    def __init__(
        self,
        broker: Broker,
        options: Options,
        crew: Crew,
        lifelines: Lifelines,
        on_question: Callable[[Question], None] = lambda question: None,
        queues: Sequence[str] | None = None,
    ) -> None:
        self._broker = broker
        self._options = options
        self._crew = crew
        self._lifelines = lifelines
        self._on_question = on_question
        self._queues = queues
        self._deaths: list[Death] = []
        self._watch = Watch(lease=options.rescue_after * LEASE)
        self._beat_at = self._promote_at = self._prune_at = self._ask_at = 0.0
        self._trusted_since = self._trusted_until = 0.0
        self._unknown: set[str] = set()  # who held jobs at the last look without being known to the store
        self._unknown_at = 0.0
        self.is_away = False
        self._bury_at = 0.0
        self._is_stuck = False  # burials fail
        self.has_alone = False

    @property
    def is_settled(self) -> bool:
        """Is everything that ended workers held back in the store?"""
        return not self._deaths

    def beat_soon(self) -> None:
        """Beat at the next tick: there is a new worker, or somebody wants to know how things stand."""
        self._beat_at = 0.0

    def bury(self, death: Death) -> None:
        """Take back what this worker held, as soon as the store answers."""
        self._deaths.append(death)
        self._bury_at = 0.0

    def expect(self, due_at: int) -> None:
        """Note that a job falls due at this moment."""
        seconds = (due_at - self._broker.clock.moment()) / SECOND
        self._promote_at = min(self._promote_at, self._elapsed() + max(seconds, 0.0))

    def tick(self) -> float:
        """
        Do what is due; return in how many seconds the next duty is.

        Raise WrongSite when the store belongs to somebody else.
        """
        try:
            self._do_what_is_due()
        except BrokerUnavailable as error:
            self._watch.restart()
            return self._try_again(error)
        if self.is_away:
            logger.info("The store can be used again.")
            self.is_away = False
        if self._elapsed() >= self._bury_at:
            # Last, so that jobs which the store refuses to take back keep nobody from beating.
            self._try_burials()
        duties = [self._beat_at, self._promote_at, self._prune_at]
        if self._deaths:
            duties.append(self._bury_at)
        if self._crew.are_running_jobs():
            duties.append(self._ask_at)
        return max(min(duties) - self._elapsed(), 0.0)

    def _try_again(self, error: BrokerUnavailable) -> float:
        if not self.is_away:
            logger.error("The store cannot be used; trying again until it can. %s", error)
        self.is_away = True
        return RETRY_AFTER

    def leave(self) -> None:
        """Take the workers that are left off the store's list."""
        left = [worker.id for worker in self._crew.infos()]
        try:
            self._do_burials()
            if left:
                self._broker.leave(left)
        except BrokerUnavailable as error:
            logger.warning("Could not sign off; others will notice within the lease. %s", error)

    def _elapsed(self) -> float:
        return self._broker.clock.elapsed()

    def _do_what_is_due(self) -> None:
        if self._elapsed() >= self._beat_at:
            self._beat()
        if self._elapsed() >= self._promote_at:
            self._promote()
        if self._elapsed() >= self._prune_at:
            self._prune()
        if self._elapsed() >= self._ask_at and self._crew.are_running_jobs():
            self._hear(self._broker.questions([worker.id for worker in self._crew.infos()]))

    # The beat.

    def _beat(self) -> None:
        sent_at, workers = self._elapsed(), self._crew.infos()
        # While jobs run the crew looks by itself, and to look from here too could take as long as a claim.
        is_busy, looks_for_unknown = self._crew.are_running_jobs(), sent_at >= self._unknown_at
        pulse = self._broker.beat(workers, self._queues, with_ready=not is_busy, with_strangers=looks_for_unknown)
        self._check_site(pulse)
        self._trust(sent_at)
        self.has_alone = pulse.has_alone
        if pulse.next_due is not None:
            self.expect(pulse.next_due)
        mine = {worker.id for worker in workers} | {death.worker_id for death in self._deaths}
        self._rescue_the_dead([worker for worker in pulse.workers if worker.id not in mine])
        if looks_for_unknown:
            self._rescue_from_the_unknown(pulse.strangers - {worker.id for worker in pulse.workers} - mine)
        now = self._elapsed()
        self._beat_at = now + self._watch.next_look(now, self._options.rescue_after * BEAT)
        self._hear(pulse.questions)
        self._crew.sweep()
        if is_busy or pulse.has_ready:
            # The backstop for every wake-up that was lost on its way. Nobody is woken for nothing.
            self._crew.wake()

    def _trust(self, sent_at: float) -> None:
        """Take note that a beat has arrived which was sent at this moment."""
        if self._elapsed() >= self._trusted_until:
            # Others may have taken the workers for dead meanwhile, and the jobs that they had claimed by then.
            self._trusted_since = self._elapsed()
        lasts = self._options.rescue_after * TRUST if self._broker.can_always_beat else math.inf
        self._trusted_until = sent_at + lasts
        self._crew.trust(self._trusted_since, self._trusted_until, self._broker.clock.offset or 0)

    def _check_site(self, pulse: Pulse) -> None:
        mine, site = self._options.site, pulse.site or None
        if site is None and mine is not None:
            self._broker.adopt(mine)
        elif site != mine:
            raise WrongSite(
                f"This store belongs to the site {site!r}, and TASKS[{self._broker.alias!r}] OPTIONS['site'] is"
                f" {mine!r}: it may be a copy, and its jobs would run twice. If it is yours, run"
                f" `manage.py mainspring adopt --backend {self._broker.alias}`, which takes it over for this site."
            )

    def _rescue_the_dead(self, strangers: Collection[WorkerInfo]) -> None:
        held = {worker.id: self._lifelines.is_held(worker.id) for worker in strangers}
        for worker in strangers:
            if held[worker.id] is False:
                started = self._lifelines.started(worker.id)
                self._take_back(worker, started, "The worker that held this job died, and its supervisor with it.")
        # Where a task can keep its worker from beating, a lifeline that is held is the better witness.
        is_watched = {None: True, False: False, True: self._broker.can_always_beat}
        watched = {worker.id: worker for worker in strangers if is_watched[held[worker.id]]}
        for worker_id in self._watch.look(watched.values(), self._elapsed()):
            self._take_back(watched[worker_id], None, "The worker that held this job went silent.")

    def _rescue_from_the_unknown(self, strangers: set[str]) -> None:
        """
        Give back what was claimed for a worker that had been buried already, and so is not known.

        A server can end a claim long after the process that sent it has died. Nothing of such a job has begun.
        """
        self._unknown_at = self._elapsed() + LOOK_FOR_UNKNOWN_EVERY
        before, self._unknown = self._unknown, strangers - {INLINE}
        for worker_id in before & self._unknown:
            self.bury(Death(worker_id, frozenset(), False, "The worker had died before it heard of this job."))

    def _hear(self, questions: Collection[Question]) -> None:
        self._ask_at = self._elapsed() + ASK_EVERY
        for question in questions:
            self._on_question(question)

    # The dead.

    def _try_burials(self) -> None:
        try:
            self._do_burials()
        except BrokerUnavailable as error:
            if not self._is_stuck:
                logger.error("What dead workers held cannot be taken back yet; that is tried again. %s", error)
            self._is_stuck = True
            self._bury_at = self._elapsed() + RETRY_AFTER
        else:
            self._is_stuck = False

    def _do_burials(self) -> None:
        while self._deaths:
            death = self._deaths.pop(0)
            try:
                self._bury(death)
            except BrokerUnavailable:
                self._deaths.append(death)  # behind the others, as it may have to do with this one's jobs
                raise

    def _bury(self, death: Death) -> None:
        self._crew.announce(self._fail_overrun(death))
        while moved := self._rescue_from(death):
            quarantined = [job.id for job in moved if State(job.state).is_end]
            logger.warning(
                "Jobs taken back from worker %s: %d, of which quarantined: %d.",
                death.worker_id,
                len(moved),
                len(quarantined),
            )
            self._crew.wake()
            self._crew.announce(quarantined)
            self.has_alone = self.has_alone or any(map(self._is_alone, moved))
        self._broker.leave([death.worker_id])
        death.forget()
        self._lifelines.remove(death.worker_id)

    def _rescue_from(self, death: Death) -> list[Job]:
        return self._broker.rescue(
            [death.worker_id],
            max_crashes=self._options.max_crashes,
            started=death.started,
            was_killed=death.was_killed,
            was_seen=death.was_seen,
            reason=death.reason,
        )

    def _is_alone(self, job: Job) -> bool:
        """Is this a job that a process of its own is needed for, and here?"""
        is_served = self._queues is None or job.queue_name in self._queues
        return is_served and job.state == State.READY and job.crashes > 0

    def _take_back(self, worker: WorkerInfo, started: frozenset[str] | None, reason: str) -> None:
        logger.warning("Worker %s is dead; its jobs are taken back. %s", worker.id, reason)
        # A service manager that loses patience with a worker that stops is no fault of its jobs.
        # Its last beat may not have said so, if it stopped while the store was away.
        was_stopping = bool(worker.facts.get("stopping")) or self._lifelines.was_stopping(worker.id)
        self.bury(Death(worker.id, started, was_stopping, reason, was_seen=False))

    def _fail_overrun(self, death: Death) -> set[str]:
        """Fail the jobs that took no notice of their timeout, for which a worker was killed; return their ids."""
        found = filter(None, map(self._broker.get, death.overrun))
        held = [job for job in found if (job.state, job.worker_id) == (State.RUNNING, death.worker_id)]
        stacks = {id: stack[: self._options.max_traceback] for id, stack in death.overrun.items()}
        accepted, _ = self._broker.settle_each([_overrun(job, stacks[job.id], self._now()) for job in held])
        return accepted

    def _now(self) -> int:
        return self._broker.clock.moment()

    # What falls due.

    def _promote(self) -> None:
        self._promote_at = self._elapsed() + FAR
        try:
            next_due = self._broker.promote(BATCH)  # it wakes listeners itself, this worker's own among them
        except BrokerRefused as error:
            logger.error("Jobs that fell due could not be made ready; they are tried again. %s", error)
            self._promote_at = self._elapsed() + PRUNE_EVERY
            return
        if next_due is not None:
            self.expect(next_due)

    def _prune(self) -> None:
        began = self._elapsed()
        self._prune_at = began + PRUNE_EVERY
        try:
            pruned = prune(self._broker, self._options, BATCH)
            self._broker.forget_limits()
            if pruned == 0:
                # Nothing has been kept for long enough. An idle worker need not ask again every minute.
                keeps = [
                    keep for keep in (self._options.keep_succeeded, self._options.keep_failed) if keep is not None
                ]
                pause = min(keeps, default=math.inf) / PATIENCE
                self._prune_at = began + max(PRUNE_EVERY, min(pause, PRUNE_AT_LEAST_EVERY))
            elif pruned >= BATCH:
                # There is more. Half of the time is for that, or jobs could end faster than they are pruned.
                now = self._elapsed()
                self._prune_at = now + (now - began)
        except (BrokerRefused, BrokerUnavailable) as error:  # a row that somebody has locked, for one
            logger.error("Old jobs could not be pruned; that is tried again. %s", error)


def _overrun(job: Job, stack: str, at: int) -> Job:
    error = machine.error_entry(
        f"{TimeLimitExceeded.__module__}.{TimeLimitExceeded.__qualname__}",
        "The job ran longer than its timeout and held the interpreter, so nothing could interrupt it; its process was"
        f" killed. Its code stood here, the innermost call first:\n{stack}",
        worker_id=job.worker_id,
        attempt=job.attempts + 1,
        started_at=job.last_attempted_at,
        finished_at=at,
    )
    return machine.fail(job, error, job.last_attempted_at or at, at)


def prune(broker: Broker, options: Options, limit: int, *, dry_run: bool = False) -> int:
    """Delete (or count) up to `limit` jobs of each kind of end that are older than the options keep them."""
    now = broker.clock.moment()
    failures = ENDS - {State.SUCCEEDED}
    pruned = 0
    for states, keep in ((frozenset({State.SUCCEEDED}), options.keep_succeeded), (failures, options.keep_failed)):
        if keep is not None:
            pruned += broker.prune(states, now - round(keep * SECOND), limit, dry_run=dry_run)
    return pruned
