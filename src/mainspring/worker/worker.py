"""The worker of one process: it claims into free capacity, has the jobs run, and stores what became of them."""

import logging
import threading
from collections.abc import Collection, Sequence
from typing import NamedTuple

from mainspring import job as machine
from mainspring.brokers.base import Broker
from mainspring.conf import Options
from mainspring.exceptions import BrokerUnavailable
from mainspring.job import Job, State
from mainspring.tasks import Task
from mainspring.worker.connections import tidy_connections
from mainspring.worker.coroutines import Coroutines
from mainspring.worker.execution import Execution, Ran
from mainspring.worker.known_tasks import KnownTasks
from mainspring.worker.outcomes import Outcomes
from mainspring.worker.pace import LIMIT, Mix, Pace
from mainspring.worker.reports import NoReports, Reports
from mainspring.worker.threads import Threads

logger = logging.getLogger("mainspring.worker")

LOOK_AGAIN = 0.025  # longer than brokers hold wake-ups back (20 ms), so a wake-up that was held back is never missed
STUCK = 0.050  # a row that stands still this long goes back to the store, for whoever is free
LOOK_PAST = 20  # times as long as it took, until a look past a full pool's tasks that found nothing is repeated
TICK = 0.005
RECONNECT = (0.2, 0.5, 1.0, 2.0, 5.0)


class Claimed(NamedTuple):
    """A job in the hands of this process, with the task that it runs."""

    job: Job
    task: Task


class Announcement(NamedTuple):
    """Ends that have been stored and that the receivers of signals have yet to hear of."""

    rans: list[Ran]


class EndedElsewhere(NamedTuple):
    """The ids of jobs that somebody without the project's code has ended, to be looked up and announced."""

    ids: list[str]


class Worker:
    """
    Runs the jobs of one backend in this process until told to stop.

    `queues` None means every queue. With `max_jobs` it ends after so many, with `max_idle` when it had nothing
    to do for so many seconds, with `drain` when no job is ready. `wake` and `stop` may be called from any thread.
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
        max_jobs: int | None = None,
        max_idle: float | None = None,
        drain: bool = False,
    ) -> None:
        self.broker = broker
        self.id = worker_id
        self.jobs_claimed = 0
        self._queues = queues
        self._reports: Reports = reports or NoReports()
        self._max_jobs = max_jobs
        self._max_idle = max_idle
        self._is_draining = drain
        self._notices = threading.Event()
        self._execution = Execution(broker, options, sender)
        self._outcomes = Outcomes(broker, options, self._execution, self._notices.set)
        self._tasks = KnownTasks(broker.clock, tuple(options.task_modules))
        # Without threads for sync tasks one thread is still there to announce what ended.
        self._threads = Threads(max(options.threads, 1), self._run_in_thread, self._notices.set)
        self._coroutines = Coroutines(options.async_jobs, options.threads, self._run_on_loop, self._notices.set)
        self._pools = [pool for pool, size in self._pools_and_sizes(options) if size]
        self._paces = {pool: Pace() for pool in self._pools}
        self._mix = Mix()
        self._to_release: list[Job] = []
        self._is_woken = True
        self._looks_at: float | None = None  # when to look for work once more though nobody woke us
        self._looks_past_at = 0.0  # when to look past the tasks of a full pool again
        self._unmet: list[Threads | Coroutines] = []  # pools that had no room when there may have been work for them
        self._worked_at = self._elapsed()
        self._stops_by: float | None = None
        self._store_away_until: float | None = None
        self._failures = 0

    def wake(self) -> None:
        """Look for work now."""
        self._is_woken = True
        self._notices.set()

    def stop(self, within: float) -> None:
        """Claim nothing more, give back what has not begun, and let what runs finish `within` seconds."""
        self._stops_by = self._elapsed() + within
        self._notices.set()

    def announce_ended(self, ids: Collection[str]) -> None:
        """Send the signals for jobs that somebody without the project's code has ended."""
        self._threads.put([EndedElsewhere(list(ids))])

    def run(self) -> bool:
        """Work until stopped; return whether everything that was claimed has been settled."""
        while True:
            if not self._is_store_away():
                self._use_store()
            self._watch_rows()
            if self._is_over():
                break
            self._notices.wait(self._pause())
            self._notices.clear()
        self._use_store()
        self._threads.stop()
        self._coroutines.stop()
        return self._is_idle()

    def _pools_and_sizes(self, options: Options) -> list[tuple[Threads | Coroutines, int]]:
        return [(self._threads, options.threads), (self._coroutines, options.async_jobs)]

    # What the loop asks itself.

    def _elapsed(self) -> float:
        return self.broker.clock.elapsed()

    def _is_stopping(self) -> bool:
        return self._stops_by is not None

    def _is_idle(self) -> bool:
        return self._threads.is_idle and self._coroutines.is_idle and not self._outcomes and not self._to_release

    def _is_over(self) -> bool:
        if self._stops_by is not None:
            return self._is_idle() or self._elapsed() >= self._stops_by
        if self._max_jobs is not None and self.jobs_claimed >= self._max_jobs:
            return self._is_idle()
        if not self._is_idle():
            return False
        if self._max_idle is not None and self._elapsed() >= self._worked_at + self._max_idle:
            return True
        return self._is_draining and not self._is_woken and self._looks_at is None

    def _is_store_away(self) -> bool:
        return self._store_away_until is not None and self._elapsed() < self._store_away_until

    def _pause(self) -> float | None:
        """Return for how long nothing needs doing unless somebody gives notice; None is for ever."""
        if self._is_woken and not self._is_store_away():
            return 0.0
        moments = [self._stops_by, self._store_away_until if self._is_store_away() else self._looks_at]
        if self._max_idle is not None and self._is_idle():
            moments.append(self._worked_at + self._max_idle)
        if self._outcomes and not self._is_store_away():
            moments.append(self._outcomes.due_at)
        pause = min([moment - self._elapsed() for moment in moments if moment is not None], default=None)
        if any(pool.waiting for pool in self._pools):
            return TICK if pause is None else min(pause, TICK)
        return pause if pause is None else max(pause, 0.0)

    # The store.

    def _use_store(self) -> None:
        try:
            self._flush()
            self._release()
            if not self._is_stopping() and self._wants_to_look():
                self._claim()
        except BrokerUnavailable as error:
            delay = RECONNECT[min(self._failures, len(RECONNECT) - 1)]
            if not self._failures:
                logger.error("The store cannot be used; trying again until it can. %s", error)
            self._failures += 1
            self._is_woken = True
            self._store_away_until = self._elapsed() + delay
        else:
            if self._failures:
                logger.info("The store can be used again.")
            self._failures, self._store_away_until = 0, None

    def _wants_to_look(self) -> bool:
        is_due = self._looks_at is not None and self._elapsed() >= self._looks_at
        return self._is_woken or is_due or any(self._room_in(pool) > 0 for pool in self._unmet)

    def _claim(self) -> None:
        is_woken, self._is_woken, self._looks_at = self._is_woken, False, None
        rooms = {pool: self._room_in(pool) for pool in self._pools}
        full_pools = [pool for pool, room in rooms.items() if room <= 0]
        if is_woken and full_pools:
            self._reports.busy()
        limit = self._limit(rooms)
        if limit <= 0 or (full_pools and self._elapsed() < self._looks_past_at):
            self._unmet = full_pools
            return
        began = self._elapsed()
        jobs = self.broker.claim(self.id, self._queues, limit, self._tasks.unknown() | self._tasks_of(full_pools))
        if full_pools and not jobs:
            # To look past a backlog of the other kind takes time that grows with it.
            self._looks_past_at = self._elapsed() + LOOK_AGAIN + LOOK_PAST * (self._elapsed() - began)
        self._take(jobs)
        if len(jobs) == limit:
            self._unmet = list(self._pools)
            self._reports.found_more()
        else:
            self._unmet = full_pools
            # A look that found something, or that somebody asked for, is followed by one more: see LOOK_AGAIN.
            self._looks_at = self._elapsed() + LOOK_AGAIN if jobs or is_woken else None

    def _limit(self, rooms: dict[Threads | Coroutines, int]) -> int:
        """Return how many jobs to claim for the pools that have room."""
        open_rooms = [room for room in rooms.values() if room > 0]
        if len(open_rooms) == 2:
            limit = self._mix.limit(rooms[self._threads], rooms[self._coroutines])
        else:
            limit = sum(open_rooms)
        return min(limit, LIMIT, LIMIT if self._max_jobs is None else self._max_jobs - self.jobs_claimed)

    def _take(self, jobs: Sequence[Job]) -> None:
        if jobs:
            self._worked_at = self._elapsed()
            self.jobs_claimed += len(jobs)
            self._hand_over(jobs)

    def _room_in(self, pool: Threads | Coroutines) -> int:
        held, wanted = pool.waiting + pool.active, pool.size + self._paces[pool].ahead()
        # Fetch half a load or more: a round trip for one free place at a time would cost more than a short job.
        return wanted - held if held < pool.size or held <= wanted // 2 else 0

    def _tasks_of(self, pools: Collection[Threads | Coroutines]) -> set[str]:
        """Return the tasks that would need one of these pools; in time this leaves only the other kind."""
        paths = self._tasks.sync_paths if self._threads in pools else set()
        return paths | self._tasks.async_paths if self._coroutines in pools else paths

    def _hand_over(self, jobs: Sequence[Job]) -> None:
        for_pool: dict[Threads | Coroutines, list[Claimed]] = {self._threads: [], self._coroutines: []}
        for job in jobs:
            task = self._tasks.find(job.task_path)
            pool = self._coroutines if job.task_path in self._tasks.async_paths else self._threads
            if task is None or pool not in self._pools:
                self._to_release.append(machine.release(job))
            else:
                for_pool[pool].append(Claimed(job, task))
        self._mix.record(len(for_pool[self._threads]), len(for_pool[self._coroutines]))
        for pool, claimed in for_pool.items():
            if claimed:
                pool.put(claimed)
        self._release()

    def _release(self) -> None:
        if self._to_release:
            self.broker.settle(self._to_release)
            self._to_release = []

    def _flush(self) -> None:
        is_last = not any(pool.active for pool in self._pools)
        if not (self._outcomes.is_due(self._elapsed()) or (self._outcomes and (is_last or self._is_stopping()))):
            return
        accepted = self._outcomes.flush()
        self._worked_at = self._elapsed()
        self._record_pace(accepted)
        ended = [ran for ran in accepted if State(ran.job.state).is_end]
        if ended:
            self._threads.put([Announcement(ended)])
        self._look_after_the_others([ran.job for ran in accepted])

    def _record_pace(self, rans: list[Ran]) -> None:
        for pool, pace in self._paces.items():
            is_async = pool is self._coroutines
            seconds = [ran.seconds for ran in rans if (ran.job.task_path in self._tasks.async_paths) is is_async]
            pace.record(len(seconds), sum(seconds))

    def _look_after_the_others(self, jobs: list[Job]) -> None:
        """See to it that jobs which are to run again will be found when they are due."""
        due = [job.due_at for job in jobs if job.due_at is not None]
        if due:
            self._reports.deferred(min(due))
        if any(job.state == State.READY for job in jobs):
            self._is_woken = True

    # The pools.

    def _watch_rows(self) -> None:
        """Release what waits here behind long jobs, so that a short one never waits while another worker is free."""
        for pool in (self._threads, self._coroutines):
            stands_still = pool.nudge(self._elapsed()) if pool.waiting else 0.0
            if pool.waiting and (self._is_stopping() or stands_still >= STUCK):
                if pool in self._paces:
                    self._paces[pool].stall(stands_still)
                items = pool.take_back()
                pool.put(item for item in items if not isinstance(item, Claimed))
                self._to_release += [machine.release(item.job) for item in items if isinstance(item, Claimed)]
                self._notices.set()

    def _run_in_thread(self, item: Claimed | Announcement | EndedElsewhere, slot: int) -> None:
        if isinstance(item, Announcement):
            for ran in item.rans:
                self._execution.announce(ran)
        elif isinstance(item, EndedElsewhere):
            for job in filter(None, map(self.broker.get, item.ids)):
                self._execution.announce(Ran(job, job))
        else:
            self._reports.started(slot, item.job.id)
            ran = self._execution.run(item.job, item.task)
            self._reports.ended(slot)
            self._outcomes.add(ran)
        tidy_connections()

    async def _run_on_loop(self, item: Claimed, slot: int) -> None:
        slot += self._threads.size
        self._reports.started(slot, item.job.id)
        ran = await self._execution.arun(item.job, item.task)
        self._reports.ended(slot)
        self._outcomes.add(ran)
