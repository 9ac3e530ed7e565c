"""Async code that waits for jobs, on every backend: told where there is room, asking again where there is none."""

import asyncio
import os
import threading
from contextlib import contextmanager

import psutil
import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import connection, connections, transaction

import mainspring
from mainspring import results, waits
from mainspring.exceptions import BrokerUnavailable
from tests.app import tasks

LONG = 30  # seconds; only a test that fails waits as long


@pytest.fixture(autouse=True)
def room(monkeypatch):
    """All the room there is, whatever the test before has cancelled; it is noticed soon when a wait is over."""
    monkeypatch.setattr(waits, "SLICE", 0.1)
    waits._make_room()
    yield
    waits._threads.shutdown()
    waits._make_room()  # for whatever test of this process waits next


@pytest.fixture
def nobody_asks(monkeypatch):
    """To ask again takes longer than any test waits."""
    monkeypatch.setattr(results, "SHORTEST_PAUSE", 2 * LONG)


@pytest.fixture
def begun(broker, monkeypatch):
    """A semaphore that is released by every thread of ours that begins to wait."""
    begun = threading.Semaphore(0)
    wait = waits._wait

    def announced(*arguments):
        begun.release()
        return wait(*arguments)

    monkeypatch.setattr(waits, "_wait", announced)
    return begun


@contextmanager
def after(begun, number, run):
    """Run what is ready, in another thread, once so many have begun to wait."""

    def work():
        try:
            take(begun, number)
            run()
        finally:
            connection.close()

    worker = threading.Thread(target=work)
    worker.start()
    yield
    worker.join()


def take(semaphore, number):
    for _ in range(number):
        assert semaphore.acquire(timeout=LONG)


def test_the_end_is_told(on, run, begun, nobody_asks):
    """The value is there when the job has ended, however many slices that takes."""
    result = on(tasks.add).enqueue(1, 2)

    with after(begun, 1, run):
        assert async_to_sync(result.aget)(timeout=LONG) == 3


def test_fifty_at_once(on, run, begun):
    """Those that find no room ask, and each gets the value of its own."""
    enqueued = mainspring.enqueue_many(on(tasks.echo), [(number,) for number in range(50)])

    with after(begun, waits.MOST, run):
        assert async_to_sync(get_all)(enqueued) == list(range(50))
    assert len(waits._threads._threads) == waits.MOST


async def get_all(enqueued):
    return await asyncio.gather(*[result.aget(timeout=LONG) for result in enqueued])


def test_the_event_loop_goes_on(on, run, begun):
    """More waits than the loop's own executor has threads leave it free for others."""
    result = on(tasks.add).enqueue(1, 2)

    async def wait_and_work():
        waiting = [asyncio.create_task(result.aget(timeout=LONG)) for _ in range(50)]
        await asyncio.to_thread(take, begun, waits.MOST)
        await asyncio.to_thread(_run_and_close, run)
        return await asyncio.gather(*waiting)

    assert async_to_sync(wait_and_work)() == [3] * 50


def _run_and_close(run):
    try:
        run()
    finally:
        connection.close()


@pytest.mark.parametrize("timeout", [0.05, 0.25])
def test_the_time_is_over(on, nobody_asks, timeout):
    """Less than a slice, and more."""
    result = on(tasks.noop).enqueue()

    with pytest.raises(mainspring.ResultTimeout, match=f"still ready after {timeout} s"):
        async_to_sync(result.aget)(timeout=timeout)


def test_a_cancelled_wait_gives_its_room_back(on, run, begun, nobody_asks):
    """It ends at once; its thread notices, and then others are told as before."""
    result = on(tasks.add).enqueue(1, 2)

    async def give_up():
        waiting = [asyncio.create_task(result.aget()) for _ in range(waits.MOST)]
        await asyncio.to_thread(take, begun, waits.MOST)
        for task in waiting:
            task.cancel()
        return await asyncio.gather(*waiting, return_exceptions=True)

    assert {type(ending) for ending in async_to_sync(give_up)()} == {asyncio.CancelledError}
    take(waits._room, waits.MOST)
    waits._room.release(waits.MOST)
    with after(begun, 1, run):
        assert async_to_sync(result.aget)(timeout=LONG) == 3


def test_nothing_of_a_wait_stays_open(on, run, begun, nobody_asks):
    """Its thread remains for the next wait, its connections do not."""
    result = on(tasks.noop).enqueue()
    before = open_sockets()

    with after(begun, 1, run):
        async_to_sync(result.aget)(timeout=LONG)
    assert open_sockets() == before
    assert waits._threads.submit(lambda: connections["default"].connection).result() is None


def open_sockets():
    """How many connections this process has open to the server under test."""
    peers = [peer.raddr for peer in psutil.Process().net_connections() if peer.raddr and peer.status == "ESTABLISHED"]
    return [str(peer.port) for peer in peers].count(connection.settings_dict["PORT"])


def test_inside_the_enqueueing_transaction(on):
    """It would wait for ever, for nobody can run the job before the commit."""
    with transaction.atomic():
        result = on(tasks.noop).enqueue()
        with pytest.raises(mainspring.NotSentYet):
            async_to_sync(result.aget)(timeout=LONG)


def test_inside_another_transaction(on, run, begun, nobody_asks):
    """A transaction that does not see the end keeps nobody from being told; on SQLite it is said that it would."""
    result = on(tasks.add).enqueue(1, 2)

    with transaction.atomic():
        result.refresh()
        if settings.STORE == "sqlite" and result.backend == "default":
            with pytest.raises(mainspring.NotSentYet, match="wait for it after the transaction"):
                async_to_sync(result.aget)(timeout=LONG)
        else:
            with after(begun, 1, run):
                assert async_to_sync(result.aget)(timeout=LONG) == 3


def test_without_a_connection_to_be_told_by_it_asks(on, run, monkeypatch, broker):
    """A server that has too few for one more still answers those it has."""
    result = on(tasks.add).enqueue(1, 2)
    refused = threading.Semaphore(0)

    def refuse(id, timeout):
        refused.release()
        raise BrokerUnavailable("too many connections")

    monkeypatch.setattr(broker, "wait_for", refuse)
    with after(refused, 2, run):
        assert async_to_sync(result.aget)(timeout=LONG) == 3


def test_a_store_that_is_away_is_named(on, monkeypatch, broker):
    """To ask it again is of no use."""
    result = on(tasks.noop).enqueue()

    def refuse(*_):
        raise BrokerUnavailable("the server is away")

    monkeypatch.setattr(broker, "wait_for", refuse)
    monkeypatch.setattr(broker, "get", refuse)
    with pytest.raises(BrokerUnavailable, match="the server is away"):
        async_to_sync(result.aget)(timeout=LONG)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_has_room_of_its_own():
    """Those who waited, and their threads, are not there."""
    take(waits._room, waits.MOST)
    pid = os.fork()
    if pid == 0:
        os._exit(not waits._room.acquire(blocking=False))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
