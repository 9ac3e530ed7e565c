"""The event loop that runs async jobs, many at a time."""

import asyncio
import contextvars
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from asgiref.sync import ThreadSensitiveContext

from mainspring.worker.connections import drop_broken_connections, tidy_connections, try_idle_connections
from mainspring.worker.rows import pop_all
from mainspring.worker.standstill import Standstill

logger = logging.getLogger("mainspring.worker")


class Coroutines:
    """
    Runs up to `size` async items at once on one event loop in a daemon thread, in the order in which they were put.

    `run(item, slot)` must not raise; no two running items have the same `slot`. `on_idle` is called when the last
    item is done. What the items call through `sync_to_async`, the ORM above all, runs in at most `threads` threads
    with a database connection each; without that, asgiref would send all of them through a single thread.
    """

    def __init__(
        self, size: int, threads: int, run: Callable[[Any, int], Awaitable[None]], on_idle: Callable[[], None]
    ) -> None:
        self.size = size
        self._run = run
        self._on_idle = on_idle
        self._waiting: deque[Any] = deque()
        self._slots = list(range(size))
        self._taken = 0
        self._standstill = Standstill()
        self._running: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_stopping = False
        self._asked_at: float | None = None
        self._orm_threads = [OrmThread(number) for number in range(max(threads, 1))]

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def active(self) -> int:
        return self.size - len(self._slots)

    @property
    def is_idle(self) -> bool:
        return not self._waiting and not self.active

    def put(self, items: Iterable[Any]) -> None:
        if not self._waiting:
            self._standstill.restart()
        self._waiting.extend(items)
        self._running_loop().call_soon_threadsafe(self._start_waiting)

    def take_back(self, kind: type) -> list[Any]:
        """Take back the items, all of this kind, that have not begun."""
        return list(pop_all(self._waiting))

    def nudge(self, elapsed: float) -> float:
        """Return for how long the row has stood still."""
        return self._standstill.seconds(self._taken, elapsed)

    def is_stuck(self, elapsed: float, patience: float) -> bool:
        """Has the loop, asked again and again, not answered for `patience` seconds?"""
        if self._loop is None:
            return False
        if self._asked_at is None:
            self._asked_at = elapsed
            self._loop.call_soon_threadsafe(self._answer)
        return elapsed - self._asked_at >= patience

    def _answer(self) -> None:
        self._asked_at = None

    def stop(self) -> None:
        """End the loop; what still runs on it is abandoned."""
        self._is_stopping = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(
                target=self._keep_running, args=(self._loop,), name="mainspring-loop", daemon=True
            ).start()
        return self._loop

    def _keep_running(self, loop: asyncio.AbstractEventLoop) -> None:
        # A task may stop the loop, and asyncio lets the SystemExit of a Task out of it: neither ends the others.
        while not self._is_stopping:
            try:
                loop.run_forever()
            except BaseException:
                logger.exception("An async task would have ended the event loop, which goes on.")

    def _start_waiting(self) -> None:
        while self._slots:
            slot = self._slots.pop()  # first, or for a moment this would look idle with an item in hand
            try:
                item = self._waiting.popleft()
            except IndexError:
                self._slots.append(slot)
                return
            self._taken += 1
            # Who comes here from the end of a job brings that job's context; none may see what another has set.
            task = asyncio.get_running_loop().create_task(self._work(item, slot), context=contextvars.Context())
            self._running.add(task)  # the loop itself keeps only weak references
            task.add_done_callback(self._running.discard)

    async def _work(self, item: Any, slot: int) -> None:
        orm_thread = min(self._orm_threads, key=lambda thread: thread.users)
        orm_thread.users += 1
        try:
            async with ThreadSensitiveContext(executor=orm_thread):
                await self._run(item, slot)
        except BaseException:
            logger.exception("The event loop met an error of its own and goes on.")
        finally:
            orm_thread.users -= 1
            orm_thread.tidy()
            self._slots.append(slot)
            self._start_waiting()
            if self.is_idle:
                self._on_idle()


class OrmThread(ThreadPoolExecutor):
    """One thread, and so one set of database connections, that several async jobs share."""

    def __init__(self, number: int) -> None:
        super().__init__(max_workers=1, thread_name_prefix=f"mainspring-orm-{number}")
        self.users = 0
        self._is_used = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if not self._is_used:
            self._is_used = True
            super().submit(try_idle_connections)
        return super().submit(fn, *args, **kwargs)

    def tidy(self) -> None:
        """Tidy this thread's connections once nobody uses them; while somebody does, only drop what is broken."""
        if self._is_used:
            super().submit(drop_broken_connections if self.users else tidy_connections)
            self._is_used = bool(self.users)
