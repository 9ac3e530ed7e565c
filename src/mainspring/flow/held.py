"""What this process holds of locks: a thread renews it until it is given back."""

import asyncio
import logging
import os
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from weakref import WeakKeyDictionary, WeakSet

from asgiref.sync import sync_to_async

from mainspring.brokers.base import Broker
from mainspring.brokers.leases import LEASE_TIME, Lease
from mainspring.clock import SECOND

T = TypeVar("T")

logger = logging.getLogger("mainspring")

RENEW_EVERY = 4.0  # seconds, so that a lease outlives two renewals that fail
TRY_AGAIN_AFTER = 1.0  # seconds after one that has failed


class Held:
    """
    One place of a lock that this process holds, until it is released.

    `token` is the fencing token. Whoever loses the last reference without a release is found out: what he held is
    renewed no more, and is free within 15 s.
    """

    def __init__(self, broker: Broker, lease: Lease, asked_at: float) -> None:
        self._broker = broker
        self._lease = lease
        self._renewed_at = (
            asked_at  # by `elapsed` of the clock, before the store was asked: it may be over earlier here
        )
        self._is_refused = False
        self._is_released = False
        self._pid = os.getpid()
        self._renewals = _renewals_in(broker)
        self._renewals.add(self)

    def __repr__(self) -> str:
        return f"<Held {self.name!r} {self.token}>"

    def __del__(self) -> None:
        if not self._is_released and self._pid == os.getpid():
            warnings.warn(f"{self!r} was never released.", ResourceWarning, stacklevel=1, source=self)

    @property
    def name(self) -> str:
        return self._lease.name

    @property
    def token(self) -> int:
        """The fencing token: greater than that of everyone who held a place under this name before."""
        return self._lease.token

    @property
    def is_lost(self) -> bool:
        """
        Whether somebody else may hold this place by now, as it was not renewed in time.

        While it is not released, what nobody else has taken is not lost any more once the store answers again. A fork
        holds nothing of its parent's.
        """
        if self._is_refused or self._is_released:
            return self._is_refused
        return os.getpid() != self._pid or self._age() >= LEASE_TIME / SECOND

    def release(self) -> None:
        """Give the place back, once; one that was lost is left to whoever has it now. It never raises."""
        if os.getpid() != self._pid or not self._renewals.forget(self):
            return
        was_lost = self.is_lost
        self._is_released = True
        try:
            self._is_refused = not self._broker.drop_lease(self._lease)
        except Exception as error:
            # Raised, it would hide why the block has ended.
            logger.warning("The lock %r could not be released, and is free within 15 s: %s", self.name, error)
            self._is_refused = was_lost
        if self._is_refused:
            logger.warning(
                "The lock %r (token %s) was lost before its end: it could not be renewed for 15 s, and somebody else"
                " may have held it meanwhile.",
                self.name,
                self.token,
            )

    async def arelease(self) -> None:
        """Do as `release` does, which a cancellation does not stop."""
        await to_the_end(self.release)

    def _age(self) -> float:
        return self._broker.clock.elapsed() - self._renewed_at

    def _note(self, asked_at: float, is_kept: bool) -> None:
        """Take note of what a renewal has brought that began at `asked_at`."""
        if is_kept:
            self._renewed_at = asked_at
        elif not self._is_released:
            self._is_refused = True


class Renewals:
    """Everything that this process holds in one store, with the thread that renews it."""

    def __init__(self) -> None:
        self._held: WeakSet[Held] = WeakSet()
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, held: Held) -> None:
        with self._guard:
            self._held.add(held)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="mainspring-locks", daemon=True)
                self._thread.start()

    def forget(self, held: Held) -> bool:
        """Renew this no more; return whether it was renewed up to now."""
        with self._guard:
            was_there = held in self._held
            self._held.discard(held)
            return was_there

    def _run(self) -> None:
        pause = RENEW_EVERY
        while True:
            time.sleep(pause)
            is_done = self._renew()
            if is_done is None:
                return
            pause = RENEW_EVERY if is_done else TRY_AGAIN_AFTER

    def _renew(self) -> bool | None:
        """Renew everything; return whether that was done, or None when there is nothing and the thread shall end."""
        with self._guard:
            held = list(self._held)
            if not held:
                self._thread = None
                return None
        return renew(held, close=True)


def renew(held: Sequence[Held], *, close: bool = False) -> bool:
    """
    Renew these together, which are in one store; return whether that has answered.

    With `close` give back the thread's connection to it: nobody uses it for seconds, and it would be in the way of
    whoever wants to drop the database.
    """
    broker = held[0]._broker
    asked_at = broker.clock.elapsed()
    try:
        kept = broker.renew_leases([each._lease for each in held])
    except Exception as error:  # whatever it is, the thread must go on
        names = ", ".join(sorted({each.name for each in held}))
        logger.warning("Locks could not be renewed (%.200s), which is tried again: %s", names, error)
        return False
    finally:
        if close:
            broker.close()
    for each in held:
        each._note(asked_at, each._lease in kept)
    return True


async def to_the_end(function: Callable[[], T]) -> T:
    """Return what a function returns that runs in a thread, and to its end even if its caller is cancelled."""
    task = asyncio.ensure_future(sync_to_async(function)())
    _under_way.add(task)
    task.add_done_callback(_under_way.discard)
    return await asyncio.shield(task)


_under_way: set[asyncio.Future[Any]] = set()  # the event loop itself keeps no task alive
_renewals: WeakKeyDictionary[Broker, Renewals]
_making: threading.Lock


def _renewals_in(broker: Broker) -> Renewals:
    # Apart for each store, so that what is in one outlives a silence of another.
    with _making:
        return _renewals.setdefault(broker, Renewals())


def _begin() -> None:
    global _renewals, _making
    _renewals, _making = WeakKeyDictionary(), threading.Lock()


_begin()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin)  # a fork has no thread, and renews nothing of its parent's
