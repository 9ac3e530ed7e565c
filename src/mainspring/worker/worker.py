"""The worker of one process: it claims into free capacity, has the jobs run, and stores what became of them."""

import logging
import threading
from collections.abc import Collection, Iterable, Sequence

from django.db import reset_queries

from mainspring import job as machine
from mainspring.brokers.base import Broker
from mainspring.conf import Options
from mainspring.exceptions import BrokerUnavailable
from mainspring.job import ENDS, Job, State
from mainspring.worker.admission import admitted
from mainspring.worker.announcements import EndedElsewhere, EndedHere
from mainspring.worker.capacity import Capacity, Pool
from mainspring.worker.claims import Claims
from mainspring.worker.connections import tidy_connections, try_idle_connections
from mainspring.worker.coroutines import Coroutines
from mainspring.worker.execution import Execution, Ran
from mainspring.worker.known_tasks import KnownTasks
from mainspring.worker.looks import Looks
from mainspring.worker.outcomes import Outcomes
from mainspring.worker.reports import NoReports, Reports
from mainspring.worker.runs import Claimed, Runs
from mainspring.worker.threads import Threads
from mainspring.worker.time_limits import Run, TimeLimits
from mainspring.worker.titles import Title
from mainspring.worker.weight import Weight

logger = logging.getLogger("mainspring.worker")

REST = 120.0  # seconds of idleness after which this thread's connection goes back; a silent router may cut it
STUCK = 0.025  # a row that stands still this long goes back to the store, for whoever is free
# Until a look past a full pool's tasks that found nothing is repeated: seconds, and times as long as it took.
LOOK_PAST_AFTER, LOOK_PAST = 0.025, 20
TICK = 0.005
RELEASE_AGAIN = 0.5  # seconds until a job is given back again whose unique key somebody may have taken
SLOW_TICK = 0.2  # seconds, while there is something to watch that gives no notice
RECONNECT = (0.2, 0.5, 1.0, 2.0, 5.0)


class Worker:
    """
    Runs the jobs of one backend in this process until told to stop.

    `queues` None means every queue. With `max_jobs` it ends after so many, with `max_idle` when it had nothing
    to do for so many seconds, with `drain` when no job is ready. With `alone` it takes the jobs that crashed before,
    one at a time, and no others. `wake`, `retire` and `stop` may be called from any thread.
    """

    def __init__(
        self,
        broker: Broker,
        options: Options,
        sender: type,
        *,
        worker_id: str,
        queues: Collection[str] | None,
        reports: Reports | None = None,
        alone: bool = False,
    ) -> None:
        self.broker = broker
        self.id = worker_id
        self.jobs_claimed = 0
        self.has_run_any = self.has_left_any = False
        self._options = options
        self._queues = queues
        self._reports: Reports = reports or NoReports()
        self._is_alone = alone
        self._notices = threading.Event()
        self._limits = TimeLimits(self._give_up)
        self._claims = Claims(broker, worker_id)
        self._execution = Execution(broker, options, sender, self._limits)
        self._outcomes = Outcomes(broker, options, self._execution, self._notices.set)
        self._tasks = KnownTasks(broker.clock, tuple(options.task_modules))
        # Without threads for sync tasks one thread is still there to announce what ended.
        self._threads = Threads(max(options.threads, 1), self._run_in_thread, self._notices.set)
        self._coroutines = Coroutines(options.async_jobs, options.threads, self._run_on_loop, self._notices.set)
        self._capacity = Capacity(
            self._threads if options.threads else None, self._coroutines if options.async_jobs else None, self._tasks
        )
        self._first_async_slot = self._threads.size
        self._to_release: list[Job] = []
        self._title = Title(f"mainspring {broker.alias}: {'runs alone what crashed' if alone else 'worker'}")
        self._runs = Runs(
            self._execution,
            self._limits,
            self._outcomes,
            self._reports,
            self._give_back,
            self._meet_hung_run,
            self._title,
        )
        self._release_again_at = 0.0
        self._looks = Looks()
        self._looks_past_at = 0.0  # when to look past the tasks of a full pool again
        self._unmet: list[Pool] = []  # pools that had no room when there may have been work for them
        self._worked_at = self._elapsed()
        self._weight = Weight(options.max_memory)
        self._stops_by: float | None = None
        self._is_retiring = False
        self._store_away_until: float | None = None
        self._failures = 0
        self._rests_at: float | None = None  # when this thread's connection has been idle for long

    def wake(self) -> None:
        """Look for work now."""
        self._looks.wake()
        self._notices.set()

    def stop(self, within: float) -> None:
        """Claim nothing more, give back what has not begun, and let what runs finish `within` seconds."""
        self._stops_by = self._elapsed() + within
        self._notices.set()

    def retire(self) -> None:
        """Claim nothing more, give back what has not begun, and end when all that runs has finished or hangs."""
        self._is_retiring = True
        self._notices.set()

    def announce_ended(self, ids: Iterable[str]) -> None:
        """Send the signals for jobs that somebody without the project's code has ended."""
        self._threads.put([EndedElsewhere(list(ids))])
        self._notices.set()  # it may take another thread

    def stack_of(self, job_id: str) -> str | None:
        """Return where the code of a job stands, None if it does not run here."""
        return self._runs.stack_of(job_id)

    def run(self) -> bool:
        """Work until stopped; return whether everything that was claimed has been settled and nothing hangs."""
        while True:
            if not self._is_store_away():
                self._use_store()
            self._watch_rows()
            if self._is_over():
                break
            if self._is_idle():
                self._title.show("is idle")
            self._rest()
            self._notices.wait(self._pause())
            self._notices.clear()
        self._is_retiring = True  # nobody would run what is claimed now, whatever has come meanwhile
        self._use_store()
        self._threads.stop()
        self._coroutines.stop()
        return self._is_idle()

    # What the loop asks itself.

    def _elapsed(self) -> float:
        return self.broker.clock.elapsed()

    def _claims_no_more(self) -> bool:
        return self._stops_by is not None or self._is_retiring

    def _has_had_enough(self) -> bool:
        return self._options.max_jobs is not None and self.jobs_claimed >= self._options.max_jobs

    def _is_idle(self) -> bool:
        return self._runs_nothing() and not self._outcomes and not self._to_release

    def _runs_nothing(self) -> bool:
        return self._threads.is_idle and self._coroutines.is_idle

    def _is_over(self) -> bool:
        if self._stops_by is not None:
            is_late = self._elapsed() >= self._stops_by
            return is_late or self._is_idle() or self._only_hung_runs_are_left()
        if self._is_retiring and not self._is_store_away():
            return self._is_idle() or self._only_hung_runs_are_left()
        if self._has_had_enough():
            return self._is_idle()
        if not self._is_idle():
            return False
        if self._options.max_idle is not None and self._elapsed() >= self._worked_at + self._options.max_idle:
            return True
        # A claim that came back full, or that a full pool has cut short, says nothing about what is left.
        return self._options.drain and self._looks.are_over and not self._unmet

    def _only_hung_runs_are_left(self) -> bool:
        hung = list(self._runs.hung)  # others add to it meanwhile
        if self._outcomes or self._to_release or self._threads.waiting or not hung:
            return False
        hung_threads = sum(slot < self._first_async_slot for slot in hung)
        hung_coroutines = len(hung) - hung_threads
        # One that blocks the loop takes all others with it.
        return self._threads.active <= hung_threads and (
            self._coroutines.active <= hung_coroutines
            or self._coroutines.is_stuck(self._elapsed(), self._options.grace)
        )

    def _is_store_away(self) -> bool:
        return self._store_away_until is not None and self._elapsed() < self._store_away_until

    def _pause(self) -> float | None:
        """Return for how long nothing needs doing unless somebody gives notice; None is for ever."""
        moments = [self._stops_by, self._next_look()]
        if not self._is_store_away():
            moments += [self._claims.look_at, self._outcomes.due_at()]
            moments += [self._release_again_at] if self._to_release else []
        if self._options.max_idle is not None and self._is_idle():
            moments.append(self._worked_at + self._options.max_idle)
        if self._rests_at is not None:
            moments.append(self._rests_at)
        pauses = [moment - self._elapsed() for moment in moments if moment is not None]
        if self._threads.waiting or self._coroutines.waiting:
            pauses.append(TICK)
        if self._is_retiring:
            pauses.append(SLOW_TICK)
        pause = min(pauses, default=None)
        return pause if pause is None else max(pause, 0.0)

    def _next_look(self) -> float | None:
        """Return when to use the store again though nobody gives notice."""
        if self._is_store_away():
            return self._store_away_until
        if self._claims_no_more():
            return None
        if self._wants_to_look() and not self._reports.is_trusted():
            return self._elapsed() + SLOW_TICK
        return self._looks.next_at(self._elapsed())

    # The store.

    def _use_store(self) -> None:
        try:
            self._release()
            self._claims.give_back()
            self._retire_if_too_large()
            has_reason = self._wants_to_look() or self._must_flush()  # a claim on the way costs next to nothing
            may_claim = not self._claims_no_more() and self._reports.is_trusted()
            if not (has_reason and may_claim and self._claim()) and self._must_flush():
                self._store_outcomes()
        except BrokerUnavailable as error:
            delay = RECONNECT[min(self._failures, len(RECONNECT) - 1)]
            if not self._failures:
                logger.error("The store cannot be used; trying again until it can. %s", error)
            self._failures += 1
            self._looks.wake()
            self._store_away_until = self._elapsed() + delay
        else:
            if self._failures:
                logger.info("The store can be used again.")
            self._failures, self._store_away_until = 0, None
        reset_queries()  # where DEBUG is True Django keeps the last 9000, and a flush can have megabytes

    def _wants_to_look(self) -> bool:
        is_due = self._looks.is_due(self._elapsed())
        return is_due or any(self._capacity.room_in(pool) > 0 for pool in self._unmet)

    def _rest(self) -> None:
        """Give the connection back that has not been used for long."""
        if self._rests_at is not None and self._elapsed() >= self._rests_at:
            self._rests_at = None
            self.broker.close()

    def _claim(self) -> bool:
        """Claim if there is room, and store outcomes on the way; return whether the store was asked."""
        was_woken = self._looks.begin(self._elapsed())
        full_pools = self._capacity.full_pools()
        if was_woken and full_pools:
            self._reports.busy()
        limit = self._limit()
        if limit <= 0 or (full_pools and self._elapsed() < self._looks_past_at):
            self._unmet = full_pools or self._capacity.pools
            return False
        self._reports.set_clock(self.broker.clock)
        began = self._elapsed()
        left_alone = self._tasks.unknown() | self._capacity.tasks_of(full_pools)
        jobs = self._settle_and_claim(limit, left_alone)
        if full_pools and not jobs:
            # To look past a backlog of the other kind takes time that grows with it.
            self._looks_past_at = self._elapsed() + LOOK_PAST_AFTER + LOOK_PAST * (self._elapsed() - began)
        self._take(jobs, began)
        if len(jobs) == limit:
            self._unmet = list(self._capacity.pools)
            self._reports.found_more()
            if self._capacity.room() > 0:
                self._looks.wake()  # what a claim may bring at once is less than what has room
        else:
            self._unmet = full_pools
            if jobs:
                self._looks.found(self._elapsed())
        self._reports.left_alone(self._tasks.unknown())
        return True

    def _settle_and_claim(self, limit: int, left_alone: Collection[str]) -> list[Job]:
        """
        Claim, and store on the way what waits for it.

        Two threads, one of which claims while the other stores outcomes, were slower by a fifth.
        """
        self._rests_at = self._elapsed() + REST
        batch = self._outcomes.take()
        if self._outcomes:  # more than one statement carries
            self._outcomes.take_again(batch)
            self._store_outcomes()
            batch = []
        try:
            turn = self._claims.claim(
                [ran.job for ran in batch], self._queues, limit, left_alone, alone=self._is_alone
            )
        except BrokerUnavailable:
            self._outcomes.take_again(batch)
            raise
        self._look_after(self._outcomes.written(batch, turn.accepted, turn.refused))
        return turn.claimed

    def _limit(self) -> int:
        """Return how many jobs to claim now."""
        # Outcomes do not count: they are stored on the way.
        if self._is_alone:
            return 1 if self._runs_nothing() and not self._to_release else 0
        held = self._threads.waiting + self._coroutines.waiting + len(self._to_release)
        limits = [self._capacity.room(), self._options.max_in_flight - held]
        if self._options.max_jobs is not None:
            limits.append(self._options.max_jobs - self.jobs_claimed)
        return min(limits)

    def _take(self, jobs: Sequence[Job], since: float) -> None:
        if jobs:
            self._worked_at = self._elapsed()
            self.jobs_claimed += len(jobs)
            self._hand_over(jobs, since)
            if self._has_had_enough():
                self._reports.retiring(f"has taken {self.jobs_claimed} job(s), as many as it should")

    def _hand_over(self, jobs: Sequence[Job], since: float) -> None:
        try:
            may_run, left, ended, broken = admitted(self.broker, self._options, self._tasks, jobs)
        except BrokerUnavailable:
            for job in jobs:
                self._give_back(job)  # whatever came of it
            raise
        if len(may_run) < len(jobs):
            self.jobs_claimed -= len(jobs) - len(may_run)  # or a full limit would wear processes out
            self._reports.deferred(self.broker.clock.moment())  # whoever promotes finds out for when they wait
        for job in left:
            self._give_back(job)
        if ended:
            self.announce_ended([job.id for job in ended])
        for job, reason in broken:
            self._outcomes.add(self._execution.not_admitted(job, reason))
        for_pool: dict[Pool, list[Claimed]] = {pool: [] for pool in self._capacity.pools}
        for job in may_run:
            task = self._tasks.find(job.task_path)
            pool = self._capacity.pool_of(job.task_path)
            if task is None or pool is None:
                self.has_left_any = True
                self._give_back(job)
            else:
                for_pool[pool].append(Claimed(job, task, since))
        self._capacity.taken([claimed.job.task_path for row in for_pool.values() for claimed in row])
        for pool, row in for_pool.items():
            if row:
                self.has_run_any = True
                pool.put(row)
        self._release()

    def _give_back(self, job: Job) -> None:
        self._to_release.append(machine.release(job))
        self._notices.set()

    def _release(self) -> None:
        # Threads add to the list meanwhile.
        if not self._to_release or self._elapsed() < self._release_again_at:
            return
        released = list(self._to_release)
        accepted, refused = self.broker.settle_each(released)
        del self._to_release[: len(released)]
        for job, error in refused:
            logger.error("Job %s cannot be given back before this process ends: %s", job.id, error)
        self._see_to_keys(released, accepted)

    def _see_to_keys(self, released: Sequence[Job], accepted: Collection[str]) -> None:
        """Announce those that have ended because another has their key, and try again where nobody can tell yet."""
        keyed = [job for job in released if machine.may_be_superseded(job)]
        if not keyed:
            return
        stored = [self.broker.get(job.id) for job in keyed]
        if ended := [job.id for job in stored if job is not None and job.id in accepted and job.state in ENDS]:
            self.announce_ended(ended)
        running = {job.id: job.token for job in stored if job is not None and job.state == State.RUNNING}
        if left := [job for job in keyed if job.id not in accepted and running.get(job.id) == job.token]:
            self._to_release += left
            self._release_again_at = self._elapsed() + RELEASE_AGAIN

    def _must_flush(self) -> bool:
        is_last = not (self._threads.active or self._coroutines.active)
        is_due = self._outcomes.is_due(self._elapsed())
        return is_due or (bool(self._outcomes) and (is_last or self._claims_no_more()))

    def _store_outcomes(self) -> None:
        self._rests_at = self._elapsed() + REST
        for accepted in self._outcomes.flush():
            self._look_after(accepted)

    def _look_after(self, stored: list[Ran]) -> None:
        """Do what follows from outcomes that have been stored."""
        if not stored:
            return
        self._worked_at = self._elapsed()
        self._capacity.ran(stored)
        if awaited := [ran for ran in stored if self._execution.is_awaited(ran)]:
            self._threads.put([EndedHere(awaited)])
        # Jobs that are to run again must be found when they are due.
        due = [ran.job.due_at for ran in stored if ran.job.due_at is not None]
        if due:
            self._reports.deferred(min(due))
        if any(ran.job.state == State.READY or machine.may_free_others(ran.job) for ran in stored):
            self._looks.wake()

    def _retire_if_too_large(self) -> None:
        if not self._is_retiring and (excess := self._weight.excess(self._elapsed())):
            self._retire(excess)

    def _retire(self, reason: str) -> None:
        self.retire()
        self._reports.retiring(reason)

    # The pools.

    def _watch_rows(self) -> None:
        """Release what waits here behind long jobs, so that a short one never waits while another worker is free."""
        pool: Pool
        for pool in (self._threads, self._coroutines):
            stands_still = pool.nudge(self._elapsed()) if pool.waiting else 0.0
            if pool.waiting and (self._claims_no_more() or stands_still >= STUCK):
                self._capacity.stall(pool, stands_still)
                for claimed in pool.take_back(Claimed):
                    self._give_back(claimed.job)

    def _run_in_thread(self, item: Claimed | EndedHere | EndedElsewhere, slot: int) -> None:
        try_idle_connections()
        try:
            if isinstance(item, Claimed):
                self._runs.in_thread(item, slot)
            elif untold := item.announce(self._execution):
                self._threads.put([untold])
        finally:
            tidy_connections()

    async def _run_on_loop(self, item: Claimed, slot: int) -> None:
        await self._runs.on_loop(item, self._first_async_slot + slot)

    def _give_up(self, run: Run) -> None:
        self._runs.give_up(run)

    def _meet_hung_run(self) -> None:
        # Somebody has to announce the failure, and all threads may hang.
        self._threads.add_one()
        self._retire("holds a job that takes no notice of its timeout")
