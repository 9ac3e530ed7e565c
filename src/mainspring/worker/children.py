"""The processes of one worker: as many as the plan says, replaced when they end, and words passed between them."""

import logging
import selectors
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from mainspring.worker.child_process import ChildProcess, new_worker_id
from mainspring.worker.lifelines import Lifelines
from mainspring.worker.plan import Plan

if TYPE_CHECKING:
    from mainspring.brokers.base import WorkerInfo
    from mainspring.worker.caretaker import Death

logger = logging.getLogger("mainspring.worker")

RESTART_DELAYS = (0.0, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
STEADY_AFTER = 10.0  # a child that lived this long was no failed start
OVERRUN_MARGIN = 2.0  # seconds that a child gets to end by itself what takes no notice of its timeout
ALONE_AGAIN_AFTER = 60.0  # what a process for jobs that run alone has left, it could not import; that may change
ALONE_SOON = 1.0  # after a process for them that found nothing
LARGEST_AFTER = 30.0  # seconds between two processes that are replaced because the machine's memory runs out


class Children:
    """
    Keeps the processes of a plan alive.

    `on_start` and `on_death` hear of every process; `on_message` of what a process says that is not about itself.
    """

    def __init__(
        self,
        plan: Plan,
        selector: selectors.BaseSelector,
        lifelines: Lifelines,
        on_start: "Callable[[WorkerInfo], None]",
        on_death: "Callable[[Death], None]",
        on_message: Callable[[ChildProcess, dict[str, Any]], None],
    ) -> None:
        self._plan = plan.shaped()
        self._selector = selector
        self._lifelines = lifelines
        self._on_start = on_start
        self._on_death = on_death
        self._on_message = on_message
        self._all: list[ChildProcess] = []
        self._wanted = plan.options.processes
        self._starts_at = 0.0  # not before this
        self._failed_starts = 0
        self._alone_at = 0.0  # no process for the jobs that run alone before this
        self._is_stopping = False
        self._outgoing: list[ChildProcess] = []  # to retire once another is ready in its place
        self.unannounced: list[str] = []  # the ids of jobs that ended here, until somebody can announce them
        self._hops = 0
        self._next = 0
        self._replaced_largest_at = self._looked_for_overrun_at = 0.0
        self.is_held_back = False  # the code cannot be loaded, and nothing has changed since

    @property
    def is_done(self) -> bool:
        """Has everything ended, and is nothing to be started?"""
        return not self._all and (self._is_stopping or not self._wanted)

    # Starting.

    def start_missing(self, *, has_alone: bool) -> None:
        """Start what is missing; with `has_alone` also a process for the jobs that run alone."""
        if self._is_stopping or self.is_held_back or self.next_start() > 0:
            return
        try:
            for _ in range(self._missing()):
                self._start(self._plan)
            if self.needs_alone(has_alone) and not any(child.plan.is_alone for child in self._all):
                self._start(self._plan.alone())
        except OSError as error:  # the system is short of processes, files or space
            self._failed_starts += 1
            delay = self._put_off_starts()
            logger.error("A process cannot be started; it is tried again in %.0f s: %s", delay, error)

    def needs_alone(self, has_alone: bool) -> bool:
        """Is a process needed for the jobs that run alone? Not soon again when the last one could run none of them."""
        return has_alone and time.monotonic() >= self._alone_at

    def is_short(self) -> bool:
        """Is a process missing that is to be started?"""
        return not self._is_stopping and not self.is_held_back and self._missing() > 0

    def _missing(self) -> int:
        present = [child for child in self._all if not child.plan.is_alone and not child.is_retiring]
        return self._wanted - len([child for child in present if child not in self._outgoing])

    def next_start(self) -> float:
        """Return in how many seconds there may be something to start."""
        return self._starts_at - time.monotonic()

    def _start(self, plan: Plan) -> None:
        worker_id = new_worker_id()
        memory = self._lifelines.create(worker_id, plan.slots)
        try:
            child = ChildProcess.start(plan, worker_id, memory)
        except OSError:
            memory.close()
            self._lifelines.remove(worker_id)
            raise
        self._all.append(child)
        self._selector.register(child.channel, selectors.EVENT_READ, child)
        self._on_start(child.info)

    # Hearing and telling.

    def hear(self, child: ChildProcess) -> None:
        """Read what a child has sent."""
        for message in child.channel.receive():
            child.heard(message)
            self._heed(child, message)
            self._on_message(child, message)
        if not child.channel.is_open:
            self._selector.unregister(child.channel)

    def _heed(self, child: ChildProcess, message: dict[str, Any]) -> None:
        if "ready" in message:
            logger.info("Worker process %d is ready%s.", child.pid, " for jobs that run alone" * child.plan.is_alone)
            self._failed_starts = 0
            self._retire_outgoing()
            self._pass_on_announcements()
        if "retiring" in message:
            logger.info("Worker process %d %s; another takes its place.", child.pid, message["retiring"])
            child.is_retiring = True
        if "broken" in message:
            logger.error("Worker process %d cannot load the code: %s", child.pid, message["broken"])
        if "found_more" in message and not child.plan.is_alone:
            self._hops = len(self._all) - 1
        if {"found_more", "busy"} & message.keys() and self._hops > 0:
            self._hops -= 1
            self._wake_next(besides=child)

    def _serving(self) -> list[ChildProcess]:
        return [child for child in self._all if child.is_ready and not child.is_retiring]

    def _crew(self) -> list[ChildProcess]:
        """Return who can do something for all: not where a job runs alone, which would be blamed for a crash."""
        return [child for child in self._serving() if not child.plan.is_alone]

    def wake(self) -> None:
        """Wake one child; one that has no room for more passes the word on, once round."""
        self._hops = len(self._all) - 1
        self._wake_next()

    def _wake_next(self, besides: ChildProcess | None = None) -> None:
        ready = [child for child in self._crew() if child is not besides]
        if ready:
            self._next = (self._next + 1) % len(ready)
            ready[self._next].channel.send(wake=True)

    def announce(self, ids: Collection[str]) -> None:
        """Have a child send the signals for jobs that ended here, as soon as one can: receivers are project code."""
        self.unannounced += ids
        self._pass_on_announcements()

    def _pass_on_announcements(self) -> None:
        if self.unannounced and any(child.channel.send(ended=self.unannounced) for child in self._crew()[:1]):
            self.unannounced = []

    def sweep(self) -> None:
        """Have a child sweep the outbox: it lies in databases that may answer late, or never."""
        for child in self._crew()[:1]:
            child.channel.send(sweep=True)
        self._pass_on_announcements()

    def list_files(self) -> None:
        """Have the children say which files they have loaded by now."""
        for child in self._serving():
            child.channel.send(files=True)

    def infos(self) -> "list[WorkerInfo]":
        return [child.info for child in self._all]

    def running(self, job_id: str) -> ChildProcess | None:
        """Return the child that runs this job."""
        return next((child for child in self._all if child.runs(job_id)), None)

    def are_running_jobs(self) -> bool:
        return any(child.memory.is_busy() for child in self._all)

    def trust(self, since: float, until: float, clock_offset: int) -> None:
        """Tell the children until when others surely take them for alive, and since when; and the store's time."""
        for child in self._all:
            child.memory.trust(since, until, clock_offset)

    # Ending and replacing.

    def reap(self) -> None:
        """Bury the children that have ended."""
        for child in [child for child in self._all if child.has_ended()]:
            # What it said last may not have been read yet. No end of the line need follow: what a task has forked
            # may hold the other side open.
            if child.channel.is_open:
                self.hear(child)
            self._all.remove(child)
            if child.channel.is_open:
                self._selector.unregister(child.channel)
            self._on_death(child.death())
            child.close()
            self._plan_replacement(child)

    def _plan_replacement(self, child: ChildProcess) -> None:
        was_outgoing = child in self._outgoing
        self._outgoing = [other for other in self._outgoing if other is not child]
        if self._is_stopping or child.is_retiring:
            return
        if child.is_over:
            self._take_leave_of(child)
            return
        if was_outgoing:
            return
        if self._outgoing and not child.is_ready:
            logger.error("The new code does not start; the processes that run go on with the old one.")
            self._outgoing = []
            return
        if child.is_broken and self._plan.reloads:
            logger.info("Waiting for a change of the code.")
            self.is_held_back = True
            return
        self._failed_starts = 0 if child.age() >= STEADY_AFTER else self._failed_starts + 1
        delay = self._put_off_starts()
        logger.error("Worker process %d %s; another starts in %.0f s.", child.pid, child.how_it_ended(), delay)

    def _put_off_starts(self) -> float:
        """Start nothing for a while, the longer the more starts have failed; return for how many seconds."""
        delay = RESTART_DELAYS[min(self._failed_starts, len(RESTART_DELAYS) - 1)]
        self._starts_at = time.monotonic() + delay
        return delay

    def _take_leave_of(self, child: ChildProcess) -> None:
        """Take note of a child that ended because there was nothing more for it to do."""
        options = self._plan.options
        if child.plan.is_alone:
            self._alone_at = time.monotonic() + _alone_again_after(child)
        elif options.drain or options.max_idle is not None:
            self._wanted -= 1

    def end_overrun(self) -> None:
        """Kill children whose interpreter is held by a job that takes no notice of its timeout."""
        now = time.monotonic()
        if now < self._looked_for_overrun_at + OVERRUN_MARGIN:
            return
        self._looked_for_overrun_at = now
        for child in self._all:
            if child.end_overrun(now, OVERRUN_MARGIN):
                logger.error(
                    "Worker process %d hangs in a job that takes no notice of its timeout; it is killed.", child.pid
                )
                child.is_retiring = True

    def replace_largest(self, reason: str) -> None:
        """Replace the process that uses most memory, unless one has just been."""
        now = time.monotonic()
        candidates = [child for child in self._serving() if child.age() >= LARGEST_AFTER]
        if not candidates or now < self._replaced_largest_at + LARGEST_AFTER:
            return
        self._replaced_largest_at = now
        largest = max(candidates, key=lambda child: child.info.facts.get("memory") or 0)
        logger.warning("%s: worker process %d, the largest, is replaced.", reason, largest.pid)
        largest.retire()

    def roll(self) -> None:
        """Replace every process by one with the code as it is now; each goes on until another is ready."""
        self._start_anew()
        for child in self._all:
            if child.plan.is_alone and not child.is_retiring:
                child.retire()  # another is started when there is something for it to do
        self._outgoing = [child for child in self._all if not child.is_retiring]

    def _retire_outgoing(self) -> None:
        """Retire as many of the old processes as others are ready in their place."""
        others = [child for child in self._crew() if child not in self._outgoing]
        ready = [child for child in self._outgoing if child.is_ready]
        too_many = len(ready) + len(others) - self._wanted
        for child in self._outgoing if len(others) >= self._wanted else ready[: max(too_many, 0)]:
            child.retire()
        self._outgoing = [child for child in self._outgoing if not child.is_retiring]

    def reload(self) -> None:
        """Replace every process by one with the code as it is now: the old code claims no more jobs."""
        self._start_anew()
        for child in self._all:
            if not child.is_retiring:
                child.retire()

    def tell_again(self) -> None:
        """Repeat what a process had no room to hear."""
        for child in self._all:
            child.tell_again()

    def _start_anew(self) -> None:
        """The code is another now: what failed before may succeed."""
        self.is_held_back = False
        self._starts_at, self._failed_starts = 0.0, 0

    def stop(self, within: float) -> None:
        """Start nothing more, and let what runs finish within so many seconds."""
        self._is_stopping = True
        for child in self._all:
            child.stop(within)

    def kill(self) -> None:
        for child in self._all:
            child.kill()


def _alone_again_after(child: ChildProcess) -> float:
    """Return for how long to start no other process for jobs that run alone, when this one has ended."""
    if child.has_run_any:
        return 0.0
    # Whoever found none may only have been late, or they were locked for a moment.
    return ALONE_AGAIN_AFTER if child.has_left_any else ALONE_SOON
