"""The threads that run sync jobs: one runs a row of short jobs, others join in when a job lasts."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from mainspring.worker.rows import pop_all
from mainspring.worker.standstill import Standstill

logger = logging.getLogger("mainspring.worker")

# A job that runs longer than this no longer counts as short: another thread takes the rest of the row.
# Handing no-op jobs to 4 threads one by one gave 11,400 jobs/s where one thread in series gave 15,500.
SHORT = 0.005


class Threads:
    """
    Runs items in up to `size` daemon threads, in the order in which they were put.

    `run(item, slot)` must not raise; `slot` is the number of the thread. `on_idle` is called by the last thread that
    runs out of work.
    """

    def __init__(self, size: int, run: Callable[[Any, int], None], on_idle: Callable[[], None]) -> None:
        self.size = size
        self._run = run
        self._on_idle = on_idle
        self._waiting: deque[Any] = deque()
        self._turn = threading.Condition(threading.Lock())
        self._active = 0
        self._called = 0  # threads woken that have not begun yet
        self._started = 0
        self._stopping = False
        self._taken = 0
        self._standstill = Standstill()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def active(self) -> int:
        return self._active

    @property
    def is_idle(self) -> bool:
        return not self._waiting and not self._active and not self._called

    def put(self, items: Iterable[Any]) -> None:
        if not self._waiting:
            self._standstill.restart()
        self._waiting.extend(items)
        with self._turn:
            if self._active + self._called == 0 and self._waiting:
                self._call_one()

    def take_back(self, kind: type) -> list[Any]:
        """Take back the items of this kind that no thread has begun; the others stay in the row."""
        row = list(pop_all(self._waiting))
        self._waiting.extendleft(item for item in reversed(row) if not isinstance(item, kind))
        return [item for item in row if isinstance(item, kind)]

    def nudge(self, elapsed: float) -> float:
        """
        Call another thread when the row has not moved for a while; return for how long it has stood still.

        The worker's loop calls this every few milliseconds while items wait.
        """
        still = self._standstill.seconds(self._taken, elapsed)
        if still >= SHORT:
            with self._turn:
                if self._called == 0 and self._active < self.size:
                    self._call_one()
                    self._standstill.restart()  # it gets its time, also where the loop came late
                    return 0.0
        return still

    def add_one(self) -> None:
        """Make room for one thread more, in place of one that hangs."""
        with self._turn:
            self.size += 1
            if self._waiting:
                self._call_one()

    def stop(self) -> None:
        """Let threads end when they have done what they are doing."""
        with self._turn:
            self._stopping = True
            self._turn.notify_all()

    def _call_one(self) -> None:
        self._called += 1
        if self._active + self._called > self._started:
            slot = self._started
            self._started += 1
            threading.Thread(target=self._work, args=(slot,), name=f"mainspring-{slot}", daemon=True).start()
        self._turn.notify()

    def _work(self, slot: int) -> None:
        while self._wait_for_turn():
            for item in self._row():
                try:
                    self._run(item, slot)
                except BaseException:
                    logger.exception("A worker thread met an error of its own and goes on.")
            self._rest()

    def _row(self) -> Iterator[Any]:
        for item in pop_all(self._waiting):
            self._taken += 1
            yield item

    def _wait_for_turn(self) -> bool:
        with self._turn:
            while not self._called and not self._stopping:
                self._turn.wait()
            if not self._called:
                return False
            self._called -= 1
            self._active += 1
            return True

    def _rest(self) -> None:
        with self._turn:
            self._active -= 1
            if self._waiting and self._active + self._called == 0:
                self._called += 1  # an item came between the last look and this line
                self._turn.notify()
                return
            is_last = self._active + self._called == 0
        if is_last:
            self._on_idle()
