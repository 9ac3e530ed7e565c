"""Where a claim need not look: the heads of lines in which, a moment ago, there was nothing to take."""

import math
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence

from mainspring.brokers.database.store import WHOLE, Span
from mainspring.clock import SECOND
from mainspring.job import Job, rank_of

# Jobs of tasks that this worker does not know stay at the head, and so do the remains of jobs that have ended, as long
# as any transaction that could see them is open. On PostgreSQL, with 100,000 of them, a claim takes 540 µs per job
# instead of 23.

# Jobs that went back to an early place are found by looking at everything from time to time: after ten times as long
# as such a look takes, a few milliseconds where nothing is in the way, and after LONGEST seconds at the latest.
PAUSE = 10
LONGEST = 5.0
NOTHING_TO_LEARN = -1  # no generation of a cursor
# A job becomes visible with its transaction, and by clocks that differ: later than its place in the line says.
MARGIN = SECOND


class Cursor:
    """
    Remembers for one process where the next claim may begin, in each priority of each queue.

    For any number of threads. `generation` grows with all that makes an earlier look worthless.
    """

    def __init__(self) -> None:
        self.generation = 0
        self._changing = threading.Lock()
        self._starts: dict[tuple[str, int], int] = {}
        self._skipped: frozenset[str] = frozenset()
        self._whole_at = -math.inf

    def spans(self, queues: Iterable[str], skip_tasks: Collection[str], now: float) -> tuple[list[Span], int]:
        """Return where to look, and the generation that says so; `now` are seconds that only grow."""
        skipped = frozenset(skip_tasks)
        with self._changing:
            knows_nothing = not any(self._starts.values()) and skipped != self._skipped
            if now >= self._whole_at or not skipped >= self._skipped or knows_nothing:
                self._skipped = skipped
                self._forget()
            spans = [span for queue in queues for span in self._spans_of(queue)]
            # Who skips more tasks finds even less at the heads. What that look shows says nothing to the others, which
            # go on where they were: workers skip the tasks of a full pool for one look, every now and then.
            return spans, self.generation if skipped == self._skipped else NOTHING_TO_LEARN

    def looked(self, began: float, ended: float) -> None:
        """Take note that it took from `began` to `ended` to look at everything."""
        self._whole_at = ended + min(LONGEST, PAUSE * (ended - began))

    def learn(
        self,
        queues: Collection[str],
        bands: Iterable[tuple[str, int]],
        jobs: Sequence[Job],
        limit: int,
        at: int,
        generation: int,
    ) -> None:
        """
        Remember what a claim has shown: it began at the moment `at` and took `jobs` of `limit` that it wanted.

        Nothing else could be taken from `queues` up to its last job or, when it found fewer than it wanted, anywhere.
        `bands` are queues and priorities to remember this for, besides those that are known already. `generation` is
        what it was before the claim.
        """
        end = WHOLE if len(jobs) < limit else max(job.rank or 0 for job in jobs)
        with self._changing:
            if generation == self.generation:
                self._starts = self._moved_on(queues, bands, end, at)

    def _moved_on(
        self, queues: Collection[str], bands: Iterable[tuple[str, int]], end: int, at: int
    ) -> dict[tuple[str, int], int]:
        starts = dict(self._starts)
        for queue, priority in {*starts, *bands}:
            if queue in queues and rank_of(priority, 0) <= end:
                start = min(rank_of(priority, at - MARGIN), end)
                starts[queue, priority] = max(start, starts.get((queue, priority), 0))
        return starts

    def line_up(self, jobs: Iterable[Job], at: int) -> None:
        """Take note of jobs that this process has put in line just now, perhaps at an early place."""
        placed = [(job.queue_name, job.priority, job.rank) for job in jobs if job.rank is not None]
        with self._changing:
            if any(rank < self._starts.get((queue, priority), 0) for queue, priority, rank in placed):
                self._forget()
            elif any(rank < rank_of(priority, at - MARGIN) for _, priority, rank in placed):
                self.generation += 1  # a look under way may miss them, and must not have others miss them too

    def forget(self) -> None:
        """Look at everything next time; the priorities stay known."""
        with self._changing:
            self._forget()

    def _forget(self) -> None:
        self.generation += 1
        self._starts = dict.fromkeys(self._starts, 0)

    def _spans_of(self, queue_name: str) -> Iterator[Span]:
        """Yield the stretches of this queue's line that may hold something."""
        starts = (
            (priority, start) for (queue, priority), start in self._starts.items() if queue == queue_name and start
        )
        low = 0
        for priority, start in sorted(starts, reverse=True):
            if low < rank_of(priority, 0):
                yield Span(queue_name, low, rank_of(priority, 0))
            low = start
        yield Span(queue_name, low)
