"""A simulated PostgreSQL and a simulated Redis: each verb takes what `costs.py` has measured."""

import bisect
import statistics
from collections import deque
from functools import partial

from .events import Disk, Interpreter

# brokers/database/cursor.py: what was enqueued in the last second is always looked at, and everything after PAUSE
# times what such a look has taken, at the latest after WHOLE_EVERY.
MARGIN = 1_000_000
PAUSE = 10
WHOLE_EVERY = 5_000_000


class Costs:
    """The figures of one store in the file that `costs.py` writes, as medians."""

    def __init__(self, rows, store):
        self._rows = [row for row in rows if row["store"] == store]

    def row(self, what, batch=None, at_once=1):
        for row in self._rows:
            if (row["what"], row["batch"], row["at once"]) == (what, batch, at_once):
                return {
                    name: statistics.median(value) if isinstance(value, list) else value for name, value in row.items()
                }
        raise KeyError(f"{what}, batch {batch}, {at_once} at once: has not been measured")

    def of(self, what, column="server µs", batch=None, at_once=1):
        return self.row(what, batch, at_once)[column]

    def curve(self, what, column="server µs"):
        alone = [row for row in self._rows if row["what"] == what and row["at once"] == 1]
        batches = sorted(row["batch"] for row in alone if row["batch"])
        return Curve([(batch, batch * self.of(what, column, batch)) for batch in batches])


class Curve:
    """What one call takes by the number of its jobs: straight lines between what was measured."""

    def __init__(self, points):
        # More jobs cannot take less; where they seem to, it was noise.
        tops = [max(cost for _, cost in points[: number + 1]) for number in range(len(points))]
        self._sizes = [size for size, _ in points]
        self._costs = tops

    def __call__(self, size):
        at = min(max(bisect.bisect_left(self._sizes, size), 1), len(self._sizes) - 1)
        (low, high), (low_cost, high_cost) = self._sizes[at - 1 : at + 1], self._costs[at - 1 : at + 1]
        return max(low_cost + (size - low) * (high_cost - low_cost) / (high - low), 0.0)


class Line:
    """The jobs in line. With a `backlog` there are always so many more, which were enqueued long ago."""

    def __init__(self, events, backlog):
        self._events = events
        self._backlog = backlog
        self._enqueued = deque()
        self._returned = []
        self._seen = deque()  # when a job was enqueued in the last second, and at which place
        self.head = self.tail = 0
        self.claimed = self.running = self.ended = 0

    @property
    def waiting(self):
        return self._backlog or len(self._enqueued) + len(self._returned)

    def add(self, at):
        self._enqueued.append(at)
        self._seen.append((at, self.tail))
        self.tail += 1

    def take(self, limit):
        if self._backlog:
            jobs = [None] * limit
        else:
            jobs = [self._returned.pop() for _ in range(min(limit, len(self._returned)))]
            jobs += [self._enqueued.popleft() for _ in range(min(limit - len(jobs), len(self._enqueued)))]
        self.head += len(jobs)
        self.running += len(jobs)
        return jobs

    def give_back(self, jobs):
        self._returned += jobs
        self.head -= len(jobs)
        self.running -= len(jobs)

    def end(self, number):
        self.running -= number
        self.ended += number

    def recent_place(self):
        """Return the place of the first job that was enqueued within MARGIN; of a backlog there is none."""
        while self._seen and self._seen[0][0] < self._events.now - MARGIN:
            self._seen.popleft()
        return self._seen[0][1] if self._seen else self.tail or self.head


class Cursor:
    """Where the next claim of one process begins to look."""

    def __init__(self):
        self.place = 0
        self.skips = False
        self.whole_at = 0.0
        self.began = 0.0
        self.is_whole = False


class Store:
    """
    What both kinds of store have in common; `calls` counts the round trips of each verb.

    `then` is called when the answer has come, with what was claimed.
    """

    def __init__(self, events, costs, line, *, round_trip):
        self.events = events
        self.line = line
        self.round_trip = round_trip
        self.calls = {}
        self.busy = 0.0  # microseconds of the server's processors
        self.written = 0.0  # bytes of log
        self.client = {what: costs.curve(what, "client µs") for what in ("claim", "settle", "settle and claim")}
        self.client_vain = costs.of("claim in vain", "client µs")
        self.client_past = costs.of("look past 10000 jobs", "client µs")
        self.vain = costs.of("claim in vain")
        self._looks = costs.of("look past 10000 jobs", "round trips")
        self.enqueue_cost = costs.of("enqueue", batch=1)
        self._due_cost = costs.of("look for what falls due")
        self._log_of_enqueue = costs.of("enqueue", "log bytes", 1)
        self._log_of_turn = costs.of("settle and claim", "log bytes", 64)

    def spent(self):
        """Return how many microseconds of the server's processors have been used, and bytes of log written."""
        return self.busy, self.written

    def count(self, what, trips=1):
        self.calls[what] = self.calls.get(what, 0) + trips

    def enqueue(self, then):
        self.count("enqueue")
        self._serve(self.enqueue_cost, self._log_of_enqueue, then)

    def settle(self, ends, returned, then):
        """Store so many ends, and put jobs back into the line."""
        self.events.after(self.round_trip / 2, self._settle, ends, returned, then)

    def _settle(self, ends, returned, then):
        self.count("settle")
        size = self._log_of_turn / 2 * (ends + len(returned))
        self._serve(self.settle_cost(ends + len(returned)), size, self._settled, ends, returned, then)

    def _settled(self, ends, returned, then):
        self.line.end(ends)
        if returned:
            self.line.give_back(returned)
        then()

    def claim(self, cursor, ends, limit, then):
        """Store so many ends and claim up to `limit` jobs."""
        cursor.began = self.events.now
        self.events.after(self.round_trip / 2, self._claim, cursor, ends, limit, then)

    def _claim(self, cursor, ends, limit, then):
        jobs = self.line.take(limit)
        self.count("claim" if jobs else "claim in vain")
        cost = self.claim_cost(cursor, ends, len(jobs), limit)
        self._serve(cost, self._log_of_turn / 2 * (ends + len(jobs)), self._looked, cursor, ends, then, jobs)

    def _looked(self, cursor, ends, then, jobs):
        self.line.end(ends)
        if cursor.is_whole:
            took = self.events.now - cursor.began
            cursor.whole_at = self.events.now + min(WHOLE_EVERY, PAUSE * took)
        then(jobs)

    def look_past(self, cursor, ends, then):
        """Store so many ends and look for async jobs, of which there are none, behind all the others."""
        self.count("look past", self._looks)
        cursor.began = self.events.now
        self.events.after(self.round_trip * (self._looks - 0.5), self._look_past, cursor, ends, then)

    def _look_past(self, cursor, ends, then):
        cost = self.look_past_cost(cursor) + (self.settle_cost(ends) if ends else 0.0)
        self._serve(cost, self._log_of_turn / 2 * ends, self._looked, cursor, ends, then, ())

    def look_for_due(self):
        """Look for what falls due, as a supervisor does whenever it hears a call."""
        self.count("look for due")
        self._serve(self._due_cost, 0, _nothing)

    def call(self, then):
        """Tell every worker that listens."""
        raise NotImplementedError

    def _serve(self, microseconds, size, then, *arguments):
        raise NotImplementedError

    def _answer(self, then, *arguments):
        self.events.after(self.round_trip / 2, then, *arguments)


class PostgreSQL(Store):
    """Statements of many connections on so many processors; commits that share the syncs of one log."""

    def __init__(self, events, costs, line, *, round_trip, processors, sync, speed, unvacuumed=0):
        super().__init__(events, costs, line, round_trip=round_trip)
        self.processors = processors
        cold, warm = (costs.of(what, batch=1) for what in ("claim", "claim, disk not waited for"))
        self._sync_cost = max(cold - warm, 0.0)
        self.disk = Disk(events, processors, sync, speed, self._sync_cost)
        self._claim_cost, self.settle_cost, self._both = (
            costs.curve(f"{what}, disk not waited for") for what in ("claim", "settle", "settle and claim")
        )
        self.enqueue_cost = max(self.enqueue_cost - self._sync_cost, 0.0)
        self._running, self._new, self._old = (
            costs.of(f"job passed that {what}") for what in ("runs", "has just ended", "has ended, later")
        )
        self._marked = 0  # of how many ended jobs somebody has passed the remains
        self._unvacuumed = unvacuumed
        self._past = max(costs.of("look past 10000 jobs") - self.vain, 0.0) / 10_000
        self._vacuum = costs.of("vacuum")
        self.call_cost = costs.of("call to idle workers")

    def claim_cost(self, cursor, ends, number, limit):
        passed = self._passed(cursor, skips=False)
        recent = self.line.recent_place()
        cursor.place = min(recent, self.line.head) if number == limit else recent
        # Somebody vacuums behind those that claim.
        passed += number * self._vacuum
        if ends:
            return passed + self._both((ends + number) / 2)
        return passed + (self._claim_cost(number) if number else self.vain)

    def look_past_cost(self, cursor):
        return self.vain + self._passed(cursor, skips=True) + self._past * self.line.waiting

    def _passed(self, cursor, skips):
        """Return what it takes to come to the first job that can be taken."""
        cursor.is_whole = skips != cursor.skips or self.events.now >= cursor.whole_at
        cursor.skips = skips
        first = -self._unvacuumed if cursor.is_whole else cursor.place
        rows = max(self.line.head - first, 0)
        running = min(rows, self.line.running)
        new, self._marked = max(self.line.ended - self._marked, 0), self.line.ended
        return running * self._running + new * self._new + (rows - running) * self._old

    def spent(self):
        return self.busy + self.disk.syncs * self._sync_cost, self.disk.written

    def call(self, then):
        self.count("call")
        self._serve(self.call_cost, 0, then)

    def _serve(self, microseconds, size, then, *arguments):
        self.processors.run(microseconds, self._served, microseconds, size, then, *arguments)

    def _served(self, microseconds, size, then, *arguments):
        self.busy += microseconds
        if size:
            self.disk.commit(size, self._answer, then, *arguments)
        else:
            self._answer(then, *arguments)


class Redis(Store):
    """One thread, whose log is synced by another; to settle and to claim are two trips."""

    def __init__(self, events, costs, line, *, round_trip, processors):
        super().__init__(events, costs, line, round_trip=round_trip)
        self.thread = Interpreter(events, processors)
        self._claim_cost = costs.curve("claim")
        self.settle_cost = costs.curve("settle")
        self._look = costs.of("look past 10000 jobs")

    def claim(self, cursor, ends, limit, then):
        self._settle_first(ends, super().claim, cursor, 0, limit, then)

    def look_past(self, cursor, ends, then):
        self._settle_first(ends, super().look_past, cursor, 0, then)

    def _settle_first(self, ends, verb, *arguments):
        if ends:
            self.settle(ends, [], partial(verb, *arguments))
        else:
            verb(*arguments)

    def claim_cost(self, cursor, ends, number, limit):
        return self._claim_cost(number) if number else self.vain

    def look_past_cost(self, cursor):
        return self._look

    def call(self, then):
        self._answer(then)  # the script that puts a job in line calls too

    def _serve(self, microseconds, size, then, *arguments):
        self.thread.run(self, microseconds, self._served, microseconds, size, then, *arguments)

    def _served(self, microseconds, size, then, *arguments):
        self.busy += microseconds
        self.written += size
        self._answer(then, *arguments)


def _nothing():
    pass
