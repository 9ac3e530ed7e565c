"""
Simulated workers, which follow `mainspring/worker/`: when a process claims, how much, and when it settles.

Names are those of the modules that are followed: `worker.py`, `capacity.py`, `looks.py`, `pace.py`, `outcomes.py`,
`threads.py`, `children.py`; times are microseconds. A job keeps the interpreter for what a no-op job takes, and then
waits (for a network, a program) for the rest of its length, while it keeps its thread. There are no async jobs and no
errors, and nobody receives the signals of ends.
"""

from collections import deque
from dataclasses import dataclass
from functools import partial

from mainspring.worker.looks import Looks
from mainspring.worker.pace import LIMIT, Mix, Pace
from mainspring.worker.threads import SHORT
from mainspring.worker.worker import LOOK_PAST, LOOK_PAST_AFTER, STUCK, TICK

from .events import Interpreter
from .stores import Cursor

SECOND = 1e6
FLUSH_JOBS, MAX_IN_FLIGHT, ASYNC_JOBS = 64, 256, 100  # the defaults
WAKE_EVERY, LOOK_AGAIN_AFTER = 0.020 * SECOND, 0.025 * SECOND
HOP = 200  # from a supervisor to its process, or the other way
IN_A_ROW = 8  # jobs without length that are one event


@dataclass(frozen=True)
class Habits:
    """What jobs take, in microseconds, and what a worker takes around them."""

    length: float
    run: float  # the interpreter, from the job's start to its end
    around: float  # what else a job takes in its process
    switch: float  # for a thread to wake up
    look: float  # for the loop to look around
    threads: int = 4
    has_async: bool = True
    flush_after: float = 10_000.0


class Process:
    """One worker process: a loop that speaks with the store, and threads that run jobs."""

    def __init__(self, events, store, machine, habits, command, on_start):
        self.events = events
        self.store = store
        self.habits = habits
        self.python = Interpreter(events, machine)
        self.jobs_ended = 0
        self._command = command
        self._on_start = on_start
        self._cursor = Cursor()
        self._pace, self._mix, self._looks = Pace(), Mix(), Looks()
        # The loop.
        self._is_noticed = self._is_looking = False
        self._alarm = 0
        self._looks_past_at = 0.0
        self._unmet_threads = self._unmet_async = False
        self._returned = []
        # Outcomes.
        self._outcomes = 0
        self._outcomes_since = 0.0
        # Threads.
        self._waiting = deque()
        self.active = self._called = 0
        self._taken, self._taken_before, self._still_since = 0, -1, 0.0
        self._names = list(range(habits.threads))

    # The loop.

    def notice(self):
        self._is_noticed = True
        if not self._is_looking:
            self._begin_to_look()

    def wake(self):
        self._looks.wake()
        self.notice()

    def _begin_to_look(self):
        self._is_looking = True
        self._alarm += 1  # an alarm that was set before is for nothing
        self._is_noticed = False
        self.python.run("loop", self.habits.look, self._use_store)

    def _use_store(self):
        if self._returned:
            returned, self._returned = self._returned, []
            return self._settle(0, returned, self._use_store)
        has_reason = self._wants_to_look() or self._must_flush()
        if has_reason and self._claim():
            return
        if self._must_flush():
            self._settle(self._take_outcomes(), [], self._watch_rows)
        else:
            self._watch_rows()

    def _must_flush(self):
        is_late = self.events.now >= self._outcomes_since + self.habits.flush_after
        return self._outcomes and (self._outcomes >= FLUSH_JOBS or is_late or not self.active)

    def _take_outcomes(self):
        taken, self._outcomes = self._outcomes, 0
        return taken

    def _settle(self, ends, returned, then):
        cost = self.store.client["settle"](ends + len(returned))
        back = partial(self.python.run, "loop", 0.0, self._settled, ends, then)
        self.python.run("loop", cost, self.store.settle, ends, returned, back)

    def _settled(self, ends, then):
        self._look_after(ends)
        then()

    def _look_after(self, ends):
        if ends:
            self.jobs_ended += ends
            self._pace.record(ends, ends * (self.habits.length + self.habits.run) / SECOND)

    def _claim(self):
        """Claim if there is room, and settle on the way; return whether the store is asked."""
        now = self.events.now
        was_woken = self._looks.begin(now / SECOND)
        is_full = self._room() <= 0
        if was_woken and is_full:
            self._command.busy(self)
        limit = self._limit()
        if limit <= 0 or (is_full and now < self._looks_past_at):
            self._unmet_threads, self._unmet_async = True, not is_full and self.habits.has_async
            return False
        ends = self._take_outcomes()
        both = self.store.client["settle and claim" if ends else "claim"]
        if is_full:
            before = self.store.client_past / 2
            arguments, then = (self._cursor, ends), partial(self._looked_past, ends, now)
        else:
            before = self.store.client_vain / 2
            arguments, then = (self._cursor, ends, limit), partial(self._claimed, ends, limit)

        def answered(jobs):
            size = (ends + len(jobs)) / 2 if ends else len(jobs)
            after = max(both(size) - before if size else 0.0, before)
            self.python.run("loop", after, then, jobs)

        self.python.run("loop", before, self.store.look_past if is_full else self.store.claim, *arguments, answered)
        return True

    def _looked_past(self, ends, began, jobs):
        now = self.events.now
        self._look_after(ends)
        self._looks_past_at = now + LOOK_PAST_AFTER * SECOND + LOOK_PAST * (now - began)
        self._unmet_threads, self._unmet_async = True, False
        self._watch_rows()

    def _claimed(self, ends, limit, jobs):
        self._look_after(ends)
        if jobs:
            self._mix.record(len(jobs), 0)
            self._put(jobs)
        if len(jobs) == limit:
            self._unmet_threads, self._unmet_async = True, self.habits.has_async
            self._command.found_more(self)
        else:
            self._unmet_threads = self._unmet_async = False
            if jobs:
                self._looks.found(self.events.now / SECOND)
        self._watch_rows()

    def _wants_to_look(self):
        is_due = self._looks.is_due(self.events.now / SECOND)
        return is_due or self._unmet_async or (self._unmet_threads and self._room() > 0)

    def _room(self):
        held, wanted = len(self._waiting) + self.active, self.habits.threads + self._pace.ahead()
        return wanted - held if held < self.habits.threads or held <= wanted // 2 else 0

    def _limit(self):
        room = self._room()
        if not self.habits.has_async:
            limit = room
        elif room <= 0:
            limit = ASYNC_JOBS
        else:
            limit = self._mix.limit(room, ASYNC_JOBS)
        return min(limit, LIMIT, MAX_IN_FLIGHT - len(self._waiting) - len(self._returned))

    def _watch_rows(self):
        if self._waiting:
            still = self._nudge()
            if still >= STUCK * SECOND:
                self._pace.stall(still / SECOND)
                self._returned += self._waiting
                self._waiting.clear()
                self._is_noticed = True
        self._rest_until_noticed()

    def _rest_until_noticed(self):
        self._is_looking = False
        if self._is_noticed:
            return self._begin_to_look()
        now = self.events.now
        next_look = self._looks.next_at(now / SECOND)
        pauses = [] if next_look is None else [next_look * SECOND - now]
        if self._outcomes:
            pauses.append(self._outcomes_since + self.habits.flush_after - now)
        if self._waiting:
            pauses.append(TICK * SECOND)
        if pauses:
            self._alarm += 1
            self.events.after(max(min(pauses), 0.0), self._ring, self._alarm)

    def _ring(self, alarm):
        if alarm == self._alarm and not self._is_looking:
            self._begin_to_look()

    # Threads.

    def _put(self, items):
        if not self._waiting:
            self._taken_before = -1
        self._waiting.extend(items)
        if self.active + self._called == 0:
            self._call_one()

    def _nudge(self):
        if self._taken != self._taken_before:
            self._taken_before, self._still_since = self._taken, self.events.now
        still = self.events.now - self._still_since
        if still >= SHORT * SECOND and not self._called and self.active < self.habits.threads:
            self._call_one()
        return still

    def _call_one(self):
        self._called += 1
        thread = self._names.pop()
        self.python.run(thread, self.habits.switch, self._begin, thread)

    def _begin(self, thread):
        self._called -= 1
        self.active += 1
        self._next(thread)

    def _next(self, thread):
        if not self._waiting:
            return self._end_turn(thread)
        self._taken += 1
        each = self.habits.run + self.habits.around
        if self.habits.length:
            self._started(self._waiting.popleft(), 0.0)
            self.python.run(thread, each, self._wait, thread)
        else:
            row = [self._waiting.popleft() for _ in range(min(IN_A_ROW, len(self._waiting)))]
            for place, enqueued_at in enumerate(row):
                self._started(enqueued_at, place * each)
            self.python.run(thread, len(row) * each, self._ran, thread, len(row))

    def _started(self, enqueued_at, later):
        if enqueued_at is not None:
            self._on_start(self.events.now + later - enqueued_at)

    def _wait(self, thread):
        self.events.after(self.habits.length, self.python.run, thread, self.habits.switch, self._ran, thread, 1)

    def _ran(self, thread, number):
        before = self._outcomes
        if not before:
            self._outcomes_since = self.events.now
        self._outcomes += number
        if not before or before < FLUSH_JOBS <= self._outcomes:
            self.notice()
        self._next(thread)

    def _end_turn(self, thread):
        self.active -= 1
        self._names.append(thread)
        if self.active + self._called == 0:
            self.notice()


class Command:
    """One `worker` command: a supervisor that hears of work and passes the word on to one of its processes."""

    def __init__(self, events, store):
        self._events = events
        self._store = store
        self.processes = []
        self._next = self._hops = 0
        self._look = 0

    def hear(self):
        """Somebody has called."""
        self._wake_one()
        self._look += 1
        self._events.after(LOOK_AGAIN_AFTER, self._look_again, self._look)

    def _look_again(self, number):
        if number == self._look:
            self._wake_one()

    def _wake_one(self):
        self._store.look_for_due()
        self._hops = len(self.processes) - 1
        self._wake_next(None)

    def found_more(self, process):
        self._hops = len(self.processes) - 1
        self.busy(process)

    def busy(self, process):
        if self._hops > 0:
            self._hops -= 1
            self._wake_next(process)

    def _wake_next(self, besides):
        others = [process for process in self.processes if process is not besides]
        if others:
            self._next = (self._next + 1) % len(others)
            self._events.after(HOP, others[self._next].wake)


class Site:
    """Web processes that enqueue jobs one by one, at random, so many a second in all."""

    def __init__(self, events, store, commands, chance, *, processes, rate):
        self._events = events
        self._store = store
        self._commands = commands
        self._chance = chance
        self._called_at = [-WAKE_EVERY] * processes
        self._rate = rate / SECOND
        self._plan_next()

    def _plan_next(self):
        self._events.after(self._chance.expovariate(self._rate), self._enqueue)

    def _enqueue(self):
        self._store.enqueue(self._enqueued)
        self._plan_next()

    def _enqueued(self):
        self._store.line.add(self._events.now)
        process = self._chance.randrange(len(self._called_at))
        if self._events.now >= self._called_at[process] + WAKE_EVERY:
            self._called_at[process] = self._events.now
            self._store.call(self._tell_all)

    def _tell_all(self):
        for command in self._commands:
            command.hear()
