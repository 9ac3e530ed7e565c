"""Locks and semaphores as their users see them, in sync and in async code."""

import asyncio
import gc
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

import mainspring
from mainspring.brokers.leases import LEASE_TIME
from mainspring.clock import SECOND
from mainspring.exceptions import BrokerUnavailable, LockNotAcquired, MainspringError
from mainspring.flow import held as held_module
from mainspring.testing import travel
from tests.contract.threads import elsewhere, until

LEASE = LEASE_TIME / SECOND


@pytest.fixture
def lock(alias):
    """Make a lock, or a semaphore, in this store: `lock("a")`, `lock("a", 2)`."""

    def make(name="a", n=1, timeout=0):
        if n == 1:
            return mainspring.lock(name, timeout=timeout, backend=alias)
        return mainspring.semaphore(name, n, timeout=timeout, backend=alias)

    return make


@pytest.fixture
def quick_renewals(monkeypatch):
    monkeypatch.setattr(held_module, "RENEW_EVERY", 0.01)
    monkeypatch.setattr(held_module, "TRY_AGAIN_AFTER", 0.01)


def is_free(lock):
    """Is there a place, as another process would find it?"""
    try:
        with lock("a"):
            return True
    except LockNotAcquired:
        return False


def test_one_is_inside_at_a_time(lock):
    with lock("a"):
        with pytest.raises(LockNotAcquired, match=r"<Lock 'a'> .* had no free place within 0 s"), lock("a"):
            pass
        with lock("b"):
            pass

    assert is_free(lock)


def test_an_exception_leaves_it_free(lock):
    with pytest.raises(ZeroDivisionError), lock("a"):
        raise ZeroDivisionError

    assert is_free(lock)


def test_what_is_raised_after_the_timeout_is_a_timeout(lock):
    with lock("a"):
        began = time.monotonic()
        with pytest.raises(TimeoutError) as raised:
            lock("a", timeout=timedelta(milliseconds=50)).acquire()

    assert isinstance(raised.value, MainspringError)
    assert time.monotonic() - began >= 0.05


def test_the_next_one_waits_until_it_is_free(lock, broker):
    """And has a greater token."""
    with ThreadPoolExecutor(1) as pool:
        with lock("a") as first:
            waiting = pool.submit(acquired_and_released, lock("a", timeout=None), broker)
            with pytest.raises(TimeoutError):
                waiting.result(0.05)
        assert waiting.result(30) > first.token


def acquired_and_released(lock, broker):
    """Return the token of the place that a thread has waited for."""
    try:
        with lock as held:
            return held.token
    finally:
        broker.close()


def test_a_semaphore_lets_as_many_in_as_it_has_places(lock):
    """By one object, which is left in the reverse order."""
    semaphore = lock("a", 2)
    with semaphore as outer:
        with semaphore as inner:
            assert outer.token < inner.token
            with pytest.raises(LockNotAcquired, match=r"<Semaphore 'a' of 2>"), semaphore:
                pass
        with semaphore:
            pass
        assert not outer.is_lost

    assert is_free(lock)


def test_without_a_block_it_is_held_until_it_is_released(lock):
    held = lock("a").acquire()
    assert not is_free(lock)
    held.release()
    held.release()

    assert is_free(lock)
    assert not held.is_lost


def test_one_object_serves_many_threads(lock, broker):
    """Each leaves what it has entered itself, and nothing that they do at once gets lost."""
    shared, number = lock("a", timeout=None), [0]

    def count():
        for _ in range(5):
            with shared as held:
                seen = number[0]
                assert not held.is_lost
                number[0] = seen + 1
        broker.close()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert number == [20]
    assert is_free(lock)


def test_each_thread_leaves_its_own(lock, broker):
    shared = lock("a", 2)
    with shared as mine:
        elsewhere(broker, lambda: shared.__enter__() and shared.__exit__(None, None, None))
        left = elsewhere(broker, shared.acquire)

        assert mine in [held for _, held in shared._entered]
    left.release()


def test_what_was_not_entered_cannot_be_left(lock):
    with pytest.raises(RuntimeError, match="was not entered here"):
        lock("a").__exit__(None, None, None)


# Async.


def test_in_async_code(lock):
    async def both():
        async with lock("a") as held:
            with pytest.raises(LockNotAcquired):
                await lock("a").aacquire()
            assert held.token > 0
        held = await lock("a").aacquire()
        await held.arelease()

    async_to_sync(both)()
    assert is_free(lock)


def test_many_coroutines_share_one_object(lock):
    shared, inside, most = lock("a", 3, timeout=None), [], []

    async def enter():
        async with shared as held:
            inside.append(held)
            most.append(len(inside))
            await asyncio.sleep(0)
            inside.remove(held)

    async def run_all():
        await asyncio.gather(*[enter() for _ in range(12)])

    async_to_sync(run_all)()
    assert max(most) <= 3
    assert is_free(lock)


def test_a_wait_leaves_the_event_loop_free(lock):
    async def wait_and_release():
        held = await lock("a").aacquire()
        waiting = asyncio.create_task(lock("a", timeout=None).aacquire())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await held.arelease()
        await (await waiting).arelease()

    async_to_sync(wait_and_release)()


def test_whoever_is_cancelled_while_he_waits_holds_nothing(lock):
    async def cancel():
        async with lock("a"):
            waiting = asyncio.create_task(lock("a", timeout=None).aacquire())
            await asyncio.sleep(0.05)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

    async_to_sync(cancel)()
    assert is_free(lock)


@pytest.mark.parametrize("times", [1, 3])
def test_whoever_is_cancelled_while_he_gets_in_holds_nothing(lock, broker, monkeypatch, times):
    """Not even if he was in already and nobody had told him, nor if he is cancelled again at once."""
    is_in, may_return = threading.Event(), threading.Event()
    take = broker.take_lease

    def take_and_linger(name, slots):
        token = take(name, slots)
        is_in.set()
        may_return.wait(30)
        return token

    async def cancel():
        entering = asyncio.create_task(lock("a").aacquire())
        await asyncio.to_thread(is_in.wait, 30)
        for _ in range(times):
            entering.cancel()
            await asyncio.sleep(0.01)
        may_return.set()
        with pytest.raises(asyncio.CancelledError):
            await entering
        await sync_to_async(connections.close_all)()  # behind the attempt, in the same thread

    monkeypatch.setattr(broker, "take_lease", take_and_linger)
    asyncio.run(cancel())
    monkeypatch.undo()
    assert is_free(lock)


def test_whoever_is_cancelled_while_he_leaves_has_left(lock, broker, monkeypatch):
    leaves, may_leave = threading.Event(), threading.Event()
    drop = broker.drop_lease

    def linger_and_drop(lease):
        leaves.set()
        may_leave.wait(30)
        return drop(lease)

    async def enter_and_leave():
        async with lock("a"):
            pass

    async def cancel():
        leaving = asyncio.create_task(enter_and_leave())
        await asyncio.to_thread(leaves.wait, 30)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        may_leave.set()
        await sync_to_async(connections.close_all)()

    monkeypatch.setattr(broker, "drop_lease", linger_and_drop)
    asyncio.run(cancel())
    monkeypatch.undo()
    assert is_free(lock)


def test_what_one_task_has_entered_another_may_leave(lock):
    """As the fixtures of test runners do."""
    shared = lock("a")

    async def enter_and_leave():
        await asyncio.create_task(shared.__aenter__())
        await asyncio.create_task(shared.__aexit__(None, None, None))

    async_to_sync(enter_and_leave)()
    assert is_free(lock)


# Renewals.


@pytest.mark.usefixtures("quick_renewals")
def test_what_is_held_is_renewed(lock, alias):
    """By a thread that ends, and gives its connection back, when nothing is held any more."""
    with lock("a") as held:
        for seconds in (LEASE - 5, 2 * LEASE):
            with travel(seconds, backend=alias):
                renewed_at = held._broker.clock.elapsed()
                for _ in until(lambda: held._renewed_at > renewed_at):  # noqa: B023 - it is called at once
                    pass
                assert not held.is_lost
                assert not is_free(lock)

    for _ in until(lambda: not renewing()):
        pass


def renewing():
    return [thread for thread in threading.enumerate() if thread.name == "mainspring-locks"]


def test_a_lost_lock_is_known_as_lost(lock, alias, caplog):
    """Who leaves it takes it from nobody."""
    with travel(0, backend=alias):
        with caplog.at_level(logging.WARNING, "mainspring"), lock("a") as late:
            assert not late.is_lost
            late._broker.clock.travel(LEASE)
            assert late.is_lost
            with lock("a") as held:
                held_module.renew([late, held])
                assert late.is_lost
                assert not held.is_lost
                late.release()
                assert not is_free(lock)
                assert late.is_lost
        assert "The lock 'a' (token" in caplog.text
        held._broker.clock.travel(-LEASE)


def test_while_the_store_is_away_a_lock_is_lost_after_a_lease(lock, alias, broker, monkeypatch, caplog):
    """And not lost after all, if it answers again before another has come."""

    def be_away(held):
        raise BrokerUnavailable("away")

    with lock("a") as held, monkeypatch.context() as patch, travel(LEASE + 1, backend=alias):
        patch.setattr(broker, "renew_leases", be_away)
        assert not held_module.renew([held])
        assert held.is_lost
        patch.undo()
        assert held_module.renew([held])
        assert not held.is_lost

    assert "Locks could not be renewed (a), which is tried again: away" in caplog.text


def test_a_store_that_is_away_at_the_end_hides_no_exception(lock, broker, monkeypatch, caplog):
    def be_away(lease):
        raise BrokerUnavailable("away")

    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError), lock("a"):
        patch.setattr(broker, "drop_lease", be_away)
        raise ZeroDivisionError

    assert "The lock 'a' could not be released, and is free within 15 s: away" in caplog.text


def test_what_is_forgotten_is_free_after_a_lease(lock, alias):
    """Python tells of it, as it does of files."""
    with pytest.warns(ResourceWarning, match=r"<Held 'a' \d+> was never released"):
        acquire_and_forget(lock("a"))

    assert not is_free(lock)
    with travel(LEASE, backend=alias):
        assert is_free(lock)


def acquire_and_forget(lock):
    lock.acquire()
    gc.collect()


# Mistakes.


@pytest.mark.parametrize("name", ["", "a" * 201, None, 7, b"a", "a\0", "\ud800"])
def test_what_is_no_name(name):
    with pytest.raises(ValueError, match="the name of a lock is a text of 1 to 200 characters"):
        mainspring.lock(name)


@pytest.mark.parametrize("n", [0, -1, 1.0, True, "5", None])
def test_what_is_no_number_of_places(n):
    with pytest.raises(ValueError, match="the number of places must be a whole number from 1"):
        mainspring.semaphore("a", n)


@pytest.mark.parametrize("timeout", [-1, "soon", True, float("nan"), timedelta(seconds=-1), b""])
def test_what_is_no_timeout(timeout):
    with pytest.raises(ValueError, match="timeout must be None, seconds from 0 on"):
        mainspring.lock("a", timeout=timeout)


@pytest.mark.parametrize(("timeout", "seconds"), [(None, float("inf")), (0, 0), ("10m", 600), (timedelta(1), 86_400)])
def test_what_is_a_timeout(timeout, seconds):
    assert mainspring.lock("a", timeout=timeout).timeout == seconds


def test_a_backend_of_others_has_no_locks():
    with pytest.raises(ImproperlyConfigured, match=r"TASKS\['immediate'\] is no backend of Mainspring"):
        mainspring.lock("a", backend="immediate").acquire()
