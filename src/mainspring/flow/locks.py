"""Locks and semaphores that hold in all processes together, for any code, sync or async."""

import asyncio
import random
import threading
import time
from collections.abc import Iterator
from math import inf
from types import TracebackType
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from mainspring.backends import MainspringBackend, broker_for
from mainspring.brokers.base import Broker
from mainspring.brokers.leases import Lease
from mainspring.compat import DEFAULT_TASK_BACKEND_ALIAS, task_backends
from mainspring.durations import to_seconds
from mainspring.exceptions import LockNotAcquired
from mainspring.flow.held import Held, to_the_end
from mainspring.flow.limits import whole

LONGEST_NAME = 200  # characters, the width of its column
SHORTEST_PAUSE, LONGEST_PAUSE = 0.010, 0.250  # seconds between two tries


class Lock:
    """
    Up to `places` holders at a time, in all processes that use this name in one store.

    It is made by `lock` and `semaphore`. One object can be used again and again, by many threads and tasks at once;
    whoever holds it and takes it once more needs a second place.
    """

    def __init__(self, name: str, places: int, timeout: object, backend: str) -> None:
        self.name = _name(name)
        self.places = whole("the number of places", places)
        self.timeout = _timeout(timeout)
        self.backend = backend
        self._entered: list[tuple[object, Held]] = []  # by whom
        self._guard = threading.Lock()

    def __repr__(self) -> str:
        return f"<Lock {self.name!r}>" if self.places == 1 else f"<Semaphore {self.name!r} of {self.places}>"

    def acquire(self) -> Held:
        """Wait for a place and return it, to be released; raise LockNotAcquired after `timeout`."""
        held = self._try()
        for pause in self._pauses():
            if held is not None:
                break
            time.sleep(pause)
            held = self._try()
        return self._got(held)

    async def aacquire(self) -> Held:
        """Do as `acquire` does; who is cancelled meanwhile holds nothing."""
        held = await self._atry()
        for pause in self._pauses():
            if held is not None:
                break
            await asyncio.sleep(pause)
            held = await self._atry()
        return self._got(held)

    def __enter__(self) -> Held:
        return self._enter(self.acquire())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._leave().release()

    async def __aenter__(self) -> Held:
        return self._enter(await self.aacquire())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._leave().arelease()

    def _try(self) -> Held | None:
        broker = _broker(self.backend)
        asked_at = broker.clock.elapsed()
        token = broker.take_lease(self.name, self.places)
        return None if token is None else Held(broker, Lease(self.name, token), asked_at)

    async def _atry(self) -> Held | None:
        attempt = _Attempt(self)
        try:
            return await to_the_end(attempt.make)
        except asyncio.CancelledError:
            attempt.is_wanted = False
            await to_the_end(attempt.undo)
            raise

    def _pauses(self) -> Iterator[float]:
        """Yield how long to wait before each further try, as long as there is time."""
        end = time.monotonic() + self.timeout
        pause = SHORTEST_PAUSE
        while (left := end - time.monotonic()) > 0:
            yield min(left, random.uniform(pause / 2, pause))  # or those who began together would go on together
            pause = min(pause * 1.5, LONGEST_PAUSE)

    def _got(self, held: Held | None) -> Held:
        if held is None:
            raise LockNotAcquired(
                f"{self!r} of TASKS[{self.backend!r}] had no free place within {self.timeout:g} s. Give it a longer"
                " timeout, or do without it."
            )
        return held

    def _enter(self, held: Held) -> Held:
        with self._guard:
            self._entered.append((_caller(), held))
        return held

    def _leave(self) -> Held:
        """Return what the caller has entered last."""
        caller = _caller()
        with self._guard:
            mine = [number for number, (who, _) in enumerate(self._entered) if who is caller]
            if (
                not mine and len(self._entered) != 1
            ):  # where there is but one, another task may end what a fixture began
                raise RuntimeError(f"{self!r} was not entered here, or has been left already.")
            return self._entered.pop(mine[-1] if mine else 0)[1]


class _Attempt:
    """A try in another thread; what it brings goes back at once when its caller has gone meanwhile."""

    def __init__(self, lock: Lock) -> None:
        self.is_wanted = True
        self._lock = lock
        self._held: Held | None = None

    def make(self) -> Held | None:
        self._held = self._lock._try()
        if not self.is_wanted:
            self.undo()
        return self._held

    def undo(self) -> None:
        if self._held is not None:
            self._held.release()


def lock(name: str, *, timeout: object = None, backend: str = DEFAULT_TASK_BACKEND_ALIAS) -> Lock:
    """
    Return a lock that one holder at a time has, in all processes together: `with lock("import:7") as held: ...`.

    Entering waits up to `timeout` (seconds, a timedelta or a text such as "10s"; 0 tries once, None waits as long as
    it takes) and then raises LockNotAcquired. It yields what is held: `held.token` is a number that grows with every
    holder of this name, `held.is_lost` says whether somebody else may hold it by now. A holder that dies is not waited
    for longer than 15 s. `backend` is the alias in TASKS in whose store the lock is; a lock is a semaphore of one
    place, with the same names.
    """
    return Lock(name, 1, timeout, backend)


def semaphore(name: str, n: int, *, timeout: object = None, backend: str = DEFAULT_TASK_BACKEND_ALIAS) -> Lock:
    """
    Return a semaphore that up to `n` holders have at a time; all else is as with `lock`.

    Where two callers give different numbers, each enters while fewer than its own number are inside.
    """
    return Lock(name, n, timeout, backend)


def _broker(alias: str) -> Broker:
    if not isinstance(task_backends[alias], MainspringBackend):
        raise ImproperlyConfigured(
            f"TASKS[{alias!r}] is no backend of Mainspring, and has no locks; name one that is: backend=..."
        )
    return broker_for(alias)


def _caller() -> object:
    """Return who enters or leaves: the task of an event loop or, where none runs, the thread."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return task or threading.current_thread()


def _name(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_NAME or not _can_be_stored(value):
        raise ValueError(
            f"the name of a lock is a text of 1 to {LONGEST_NAME} characters without NUL, not {value!r:.250}"
        )
    return value


def _can_be_stored(text: str) -> bool:
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


def _timeout(value: object) -> float:
    if value is None:
        return inf
    try:
        seconds = to_seconds(value)
    except ValueError:
        seconds = -1.0
    if seconds < 0:
        raise ValueError(
            f"timeout must be None, seconds from 0 on, a timedelta or a text like '90s' or '10m', not {value!r:.100}"
        )
    return seconds
