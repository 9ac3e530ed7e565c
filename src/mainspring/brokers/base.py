"""The contract: what a store must do to be a broker. Memory is its specification, one test suite checks them all."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from mainspring import job as machine
from mainspring.brokers.admission import Change, Level, Request
from mainspring.brokers.deaths import WorkerDeath
from mainspring.brokers.leases import Lease
from mainspring.brokers.uniqueness import OnConflict, merged
from mainspring.clock import SECOND, Clock
from mainspring.exceptions import BrokerRefused, BrokerUnavailable
from mainspring.job import Job, State

INLINE = "inline"  # the worker id of whoever runs jobs in the calling thread, who has no beat
KEY_WAIT = 2.0  # seconds that an enqueue waits for a transaction that may store a job with the same unique key
QUESTIONS_KEPT = 3600 * SECOND  # whoever asked before has gone


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """One living worker process as the store knows it; `beat` only ever grows."""

    id: str
    beat: int = 0
    started_at: int = 0
    beat_at: int = 0
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody asks of a worker through the store; `kind` says how to read `body`."""

    id: str
    worker_id: str
    kind: str
    body: str


@dataclass(frozen=True, slots=True)
class Pulse:
    """
    What the store shows with a beat.

    `workers` are all that it knows. `next_due` is the moment at which the next deferred job falls due, or fell due if
    nobody has made it ready yet; None if none waits. `has_alone` says whether a job that must run alone is ready.
    `site` is the name of the installation that the store belongs to, None as long as nobody has said. `questions` are
    those to the workers of this beat that nobody has answered, oldest first. `has_ready`, if that was asked, says
    whether any other job is ready, and `strangers`, if they were, are those of the verb of this name.
    """

    workers: list[WorkerInfo]
    next_due: int | None
    has_alone: bool
    site: str | None = None
    questions: list[Question] = field(default_factory=list)
    has_ready: bool = False
    strangers: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Count:
    """
    How many jobs of one queue are in one state, and since when the oldest of them has stood in line.

    `oldest` is None where they stand in no line: in every state but ready.
    """

    queue_name: str
    state: str
    number: int
    oldest: int | None = None


@dataclass(frozen=True, slots=True)
class Risk:
    """What may be lost and why, told of the store ("deletes keys ..."), and what to do about it."""

    text: str
    hint: str


@dataclass(frozen=True, slots=True)
class Turn:
    """
    What one round with the store has brought: the ids of the outcomes that were accepted, those that were refused,
    each with its reason, and new jobs.
    """

    accepted: set[str]
    refused: list[tuple[Job, BrokerRefused]]
    claimed: list[Job]


class Listener(Protocol):
    """
    Waits for news of work on one connection of its own.

    Ask `has_news` every `interval` seconds, which changes, and, where `fileno` gives a number, as soon as that becomes
    readable. `has_news` never blocks, takes in what has come, and may be wrong only by saying yes. `hears_calls` says
    that what becomes readable is somebody's call, and so hardly ever no news.
    """

    hears_calls: bool

    @property
    def interval(self) -> float: ...

    def fileno(self) -> int | None: ...
    def has_news(self) -> bool: ...
    def close(self) -> None: ...


class Broker(ABC):
    """
    Stores jobs and hands each to one worker at a time.

    Every verb is safe under any number of threads and processes. Verbs raise BrokerUnavailable when the store cannot
    be reached; what was not acknowledged may or may not have happened, and asking again is safe.
    """

    # Does a push take part in the caller's open transaction?
    is_transactional: bool = False
    # Can other processes reach the same jobs?
    is_shared: bool = True
    # Can a worker beat whatever its tasks do? Not where a task's transaction keeps all others from writing.
    can_always_beat: bool = True
    # Where workers keep what shows to others on their machine whether they live; None is a place of the machine's.
    lifeline_folder: Path | None = None
    # The alias in DATABASES of the database that holds the jobs, if one does.
    using: str | None = None

    def __init__(self, alias: str, clock: Clock | None = None) -> None:
        self.alias = alias
        self.clock = clock or Clock()

    def now(self) -> int:
        """
        Return the time for what this process writes by itself: an enqueue, a cancellation.

        Workers have it from their beats. A store with a clock of its own is asked for it from time to time, and
        BrokerUnavailable raised when it does not answer.
        """
        return self.clock.moment()

    # What must be written for each store.

    @abstractmethod
    def push(self, jobs: Sequence[Job], *, once: bool = False) -> None:
        """
        Store new jobs in one go, all or none, and wake a worker once they can be seen.

        None holds a unique key: see `push_unique`.
        `once` leaves out every job whose id the store already holds, live or ended; without it the ids must be new.
        Raise BrokerRefused when the store will not take a value, or holds a live job under one of the ids.
        """

    @abstractmethod
    def keep(self, jobs: Sequence[Job]) -> None:
        """Store jobs that have ended without ever being live, but for those whose id is there already."""

    @abstractmethod
    def push_keyed(self, jobs: Sequence[Job], on_conflict: OnConflict, *, once: bool = False) -> list[Job]:
        """
        Store new jobs, each with a unique key of its own, and return for each the job that stands for it then.

        With `once` a job whose id the store already holds, live or ended, stands for itself and is left as it is. Any
        other does unless another live job holds its key; then `on_conflict` decides. All is done or nothing. Raise
        NotUnique where it says so, KeyLocked when a transaction that has not ended holds a key for longer than
        KEY_WAIT, and BrokerRefused as `push` does.
        """

    @abstractmethod
    def claim(
        self,
        worker_id: str,
        queues: Collection[str] | None,
        limit: int,
        skip_tasks: Collection[str] = (),
        *,
        alone: bool = False,
        token: int | None = None,
    ) -> list[Job]:
        """
        Take up to `limit` ready jobs for `worker_id`, highest priority first, oldest first, and return them.

        Only jobs that never crashed are taken or, with `alone`, only those that did: the caller sees to it that
        nothing else runs beside one of these. `queues` None means every queue. Jobs of the task paths in `skip_tasks`
        are left where they are. All jobs of one claim share a fresh token. A claim holds until it is settled or its
        worker is found dead. A job that is unique until its start gives its key back.
        """

    @abstractmethod
    def settle(self, jobs: Sequence[Job]) -> set[str]:
        """
        Store what became of claimed jobs (ended, ready or deferred again) and return the ids that were accepted.

        Each job carries the token of its claim; a job that no longer runs under that token is left alone and not
        accepted. A repeat of an accepted write (same token, state and counters as stored) is accepted again and
        changes nothing: the reply to the first may have been lost. Raise BrokerRefused, with nothing stored, when
        the store will not take a value.

        A job that comes back and wants its key again, while another holds that or waits for it, is superseded: it
        ends as `machine.supersede` says, and is accepted. While nobody can tell, because a transaction that has not
        ended may have taken the key, it is left alone. A job that waits behind one that ends here goes on.
        """

    @abstractmethod
    def admit(self, requests: Sequence[Request]) -> set[str]:
        """
        Take for claimed jobs what they need of limits, and return the ids of those that may run.

        What they take they hold until they are settled. The others are parked as `flow.admission` says, out of every
        claim's sight, until an end makes room, their time comes, or somebody changes the limit. A job that no longer
        runs under its token is left alone.
        """

    @abstractmethod
    def level(self, name: str) -> Level | None:
        """Return where a limit stands; None if nobody has asked for it yet."""

    @abstractmethod
    def change_limit(self, name: str, change: Change) -> None:
        """Give a limit other numbers in place of those that are declared, or take these back, or pause it."""

    @abstractmethod
    def limits(self, after: str = "", number: int = 100) -> dict[str, Level]:
        """Return where up to `number` limits stand, in the order of their names, from behind `after` on."""

    @abstractmethod
    def parked(self, name: str) -> int:
        """Return how many jobs are parked under a limit."""

    @abstractmethod
    def forget_limits(self) -> int:
        """
        Look at some limits, each time at the next ones, and delete what is kept of those that are as good as new.

        That is, nobody holds them or waits for them, nobody has changed them, they are not paused, and nothing that
        their rate has seen still counts. Return how many are gone.
        """

    @abstractmethod
    def holding(self, name: str) -> list[str]:
        """Return the ids of the jobs that hold something of a limit."""

    @abstractmethod
    def take_lease(self, name: str, slots: int) -> int | None:
        """
        Take one place of `slots` under a name and return its token; None while all are held, or somebody takes one.

        It is held for LEASE_TIME by the store's own clock unless it is renewed; what is over is free for the next. A
        token is greater than every one before under its name. The name has 1 to 200 characters.

        Leases are no part of the caller's transaction. Where nothing else can be, as on SQLite, Django's
        TransactionManagementError is raised. What was taken although BrokerUnavailable was raised ends by itself.
        """

    @abstractmethod
    def renew_leases(self, held: Collection[Lease]) -> set[Lease]:
        """
        Hold these for LEASE_TIME from now on, and return those that still are the caller's: the others are lost.

        One that was over is still the caller's if nobody has taken a place under its name since.
        """

    @abstractmethod
    def drop_lease(self, lease: Lease) -> bool:
        """Give a place back; return False if it was lost, in which case nothing happens."""

    @abstractmethod
    def held_by(self, worker_ids: Collection[str], limit: int) -> list[Job]:
        """Return up to `limit` running jobs that these workers have claimed."""

    @abstractmethod
    def strangers(self) -> set[str]:
        """Return the ids of the workers under which jobs run although the store does not know them."""

    @abstractmethod
    def promote(self, limit: int) -> int | None:
        """
        Make up to `limit` due jobs ready; return the moment at which the next one falls due, None if none waits.

        Jobs that wait behind others are looked at too, and go on if nobody has their key any more.

        While somebody else has locked all that are due, that is the moment at which to try again.
        """

    @abstractmethod
    def cancel(self, ids: Collection[str]) -> list[Job]:
        """End those of the jobs that nobody runs as cancelled, and return them as they ended."""

    @abstractmethod
    def get(self, id: str) -> Job | None:
        """Return the job, live or ended, or None."""

    @abstractmethod
    def holders(self, keys: Collection[str]) -> dict[str | None, Job]:
        """Return the live jobs that hold these unique keys, by their keys."""

    @abstractmethod
    def ahead(self, job: Job, limit: int) -> int:
        """
        Return how many ready jobs of its queue a claim takes before a ready one, up to `limit`.

        Of one that crashed before, these are others that did too. 0 for a job that stands in no line.
        """

    @abstractmethod
    def head(self, order_key: str) -> str | None:
        """Return the id of the job whose turn it is in an order; None as long as nobody has asked for a turn."""

    @abstractmethod
    def search(
        self,
        *,
        states: Collection[str] | None = None,
        queue_name: str | None = None,
        task_path: str | None = None,
        limit: int = 100,
        before_id: str | None = None,
    ) -> list[Job]:
        """Return jobs newest first; `before_id` (the last id of one page) gives the next page."""

    @abstractmethod
    def counts(self, ended_since: int) -> list[Count]:
        """Count live jobs by queue and state, and the ended ones that ended at `ended_since` or later."""

    @abstractmethod
    def prune(self, states: Collection[str], before: int, limit: int, *, dry_run: bool = False) -> int:
        """Delete up to `limit` jobs that ended in `states` earlier than `before`; return how many (would) go."""

    @abstractmethod
    def delete(self, ids: Collection[str]) -> int:
        """Delete those of the jobs that have ended, and return how many there were."""

    @abstractmethod
    def beat(
        self,
        workers: Sequence[WorkerInfo],
        queues: Collection[str] | None = None,
        *,
        with_ready: bool = False,
        with_strangers: bool = False,
    ) -> Pulse:
        """
        Record that these workers live, and return what there is to know for whoever looks after them.

        Each call raises the `beat` of each of `workers`, who are named once, and sets the Clock by the store's own
        time. The Pulse shows these beats; its `has_alone` and `has_ready` look in `queues`, None being every queue.
        Without workers nothing is written. What only `with_ready` and `with_strangers` ask for takes looks that may be
        as long as a claim's.
        """

    @abstractmethod
    def leave(self, worker_ids: Collection[str]) -> None:
        """Forget workers that have ended; what they still hold must have been settled before."""

    @abstractmethod
    def workers(self) -> list[WorkerInfo]:
        """Return every worker that the store knows."""

    @abstractmethod
    def adopt(self, site: str) -> None:
        """
        Note that the store belongs to the installation of this name, whoever it belonged to before.

        A copy of the store takes the name with it, so that workers of another installation can refuse it.
        """

    @abstractmethod
    def ask(self, worker_id: str, kind: str, body: str) -> str:
        """
        Leave a question for a worker, known or not, and return the question's id.

        It reaches the worker with its next beat. What was asked more than an hour ago is deleted, answered or not.
        Raise BrokerRefused when the store will not take a value.
        """

    @abstractmethod
    def questions(self, worker_ids: Collection[str]) -> list[Question]:
        """Return the questions to these workers that nobody has answered, oldest first."""

    @abstractmethod
    def answer(self, id: str, text: str) -> None:
        """
        Answer a question; the last answer counts, and where there is no such question nothing happens.

        Raise BrokerRefused when the store will not take the text.
        """

    @abstractmethod
    def answer_to(self, id: str) -> str | None:
        """Return the answer to a question; None as long as there is none, or no such question."""

    @abstractmethod
    def wait_for(self, id: str, timeout: float) -> Job | None:
        """Wait up to `timeout` seconds for the job to end, without polling the store busily; return it as it is."""

    @abstractmethod
    def listen(self) -> Listener:
        """Return a new Listener that hears of jobs pushed, put back or made ready by anyone."""

    @abstractmethod
    def wake(self) -> None:
        """Tell about one listening worker that there is work; harmless when there is none."""

    @abstractmethod
    def check(self) -> None:
        """Raise BrokerUnavailable, with the way out in its text, unless the store can be used now."""

    def is_hidden(self, id: str) -> bool:
        """Does nobody but this thread see a stored job, as the transaction that stored it has not ended?"""
        return False

    def risks(self) -> list[Risk]:
        """Return what the settings of the store itself put at risk."""
        return []

    def limit_waits(self, seconds: float) -> None:  # noqa: B027 - not every store can keep a caller waiting
        """Let no lock and no silent server hold this process up for much longer than this, as far as that can be."""

    def close(self) -> None:  # noqa: B027 - not every store has something to close
        """Give back what this thread holds of the store."""

    # What follows from it.

    def push_unique(self, jobs: Sequence[Job], on_conflict: OnConflict, *, once: bool = False) -> list[Job]:
        """Do as `push_keyed` with jobs some of which may have the same key; with `once` each of them by itself."""
        if once:
            # One of them may have been sent and have ended before; it then stands for no other.
            return [stands for job in jobs for stands in self.push_keyed([job], on_conflict, once=True)]
        jobs, number_of = merged(jobs, on_conflict)
        # In one order, or two who store the same keys could wait for each other.
        ordered = sorted(jobs, key=lambda job: job.holds_key or "")
        pushed = self.push_keyed(ordered, on_conflict)
        standing = {job.id: stands for job, stands in zip(ordered, pushed, strict=True)}
        return [standing[jobs[number].id] for number in number_of]

    def become(self, jobs: Sequence[Job]) -> list[Job]:
        """Return accepted outcomes as they are stored: one that came back and met another with its key has ended."""
        if not any(map(machine.may_be_superseded, jobs)):
            return list(jobs)
        return [(self.get(job.id) or job) if machine.may_be_superseded(job) else job for job in jobs]

    def settle_each(self, jobs: Sequence[Job]) -> tuple[set[str], list[tuple[Job, BrokerRefused]]]:
        """
        Settle jobs of which one may hold a value that the store refuses, without losing the others.

        Return the accepted ids and the refused jobs, each with its reason. A refused batch is halved until the
        culprit stands alone.
        """
        if not jobs:
            return set(), []
        try:
            return self.settle(jobs), []
        except BrokerRefused as error:
            if len(jobs) == 1:
                return set(), [(jobs[0], error)]
        middle = len(jobs) // 2
        accepted, refused = self.settle_each(jobs[:middle])
        more_accepted, more_refused = self.settle_each(jobs[middle:])
        return accepted | more_accepted, refused + more_refused

    def settle_and_claim(
        self,
        outcomes: Sequence[Job],
        worker_id: str,
        queues: Collection[str] | None,
        limit: int,
        skip_tasks: Collection[str] = (),
        *,
        alone: bool = False,
        token: int | None = None,
    ) -> Turn:
        """
        Do as `settle_each` with the outcomes and then as `claim`, in as few trips to the store as it can be done.

        When BrokerUnavailable is raised any of it may have happened; to ask again is safe.
        """
        accepted, refused = self.settle_each(outcomes)
        claimed = self.claim(worker_id, queues, limit, skip_tasks, alone=alone, token=token)
        return Turn(accepted, refused, claimed)

    def rescue(
        self,
        worker_ids: Collection[str],
        *,
        max_crashes: int,
        started: Collection[str] | None = None,
        was_killed: bool = False,
        was_seen: bool = True,
        reason: str = "The worker process died while it ran this job.",
        batch: int = 256,
    ) -> list[Job]:
        """
        Take back everything that dead workers hold and return the jobs as they now are.

        `started` are the ids of jobs that were running when their worker died; None means that nobody knows, so all
        may have been. Those are charged with a crash (or, when the process `was_killed` on purpose, an interruption)
        and the others go back as if never claimed. Each write carries the token of the claim, so a job that was
        settled meanwhile is left alone. A job's own `max_crashes` goes before the one given here.

        `was_seen` is False where the supervisor died as well. A node that was taken away and a job that ate the memory
        of its container then look alike, so the last crash, which would end the job, counts as an interruption
        until the job has been cut off DOUBTS times as often as it may crash.

        When the store fails in the middle, what was taken back so far is returned: call again until nothing is, and
        the next call meets the error.
        """
        death = WorkerDeath(max_crashes, started, was_killed, was_seen, reason)
        moved: list[Job] = []
        try:
            while held := self.held_by(worker_ids, batch):
                after = [death.after(job, self.clock.moment()) for job in held]
                accepted, refused = self.settle_each(after)
                stored = self.become([job for job in after if job.id in accepted])
                moved += [job for job in stored if self._is_our_write(job)]
                if not accepted and not refused and self._are_still_held(held, batch):
                    raise BrokerUnavailable(f"Jobs of a dead worker that somebody else has locked: {len(held)}.")
                if refused:
                    # They would be found again for ever; the next rescue tries once more.
                    raise BrokerUnavailable(
                        f"{len(refused)} jobs of a dead worker cannot be taken back: {refused[0][1]}"
                    )
        except BrokerUnavailable:
            if not moved:
                raise
        if moved:
            self.wake()
        return moved

    def _are_still_held(self, jobs: Sequence[Job], batch: int) -> bool:
        """Is any of these claims as it was? Or has another rescue been faster?"""
        still = self.held_by({job.worker_id for job in jobs}, batch)
        return bool({(job.id, job.token) for job in still} & {(job.id, job.token) for job in jobs})

    def _is_our_write(self, job: Job) -> bool:
        """Did we end this job, and not another rescue whose write ours repeats? One of us announces the end."""
        if not State(job.state).is_end:
            return True
        try:
            stored = self.get(job.id)
        except BrokerUnavailable:
            return True  # better told twice than never
        return stored is not None and stored.finished_at == job.finished_at
