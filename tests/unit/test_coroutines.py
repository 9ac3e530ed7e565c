"""The event loop that runs async jobs."""

import asyncio
import contextvars
import threading
from collections import deque

import pytest
from django.db import connections

from mainspring.worker.coroutines import Coroutines, OrmThread

SOON = 5.0

tenant = contextvars.ContextVar("tenant", default=None)


@pytest.fixture
def make():
    made = []

    def make(run):
        idle = threading.Event()
        made.append(Coroutines(2, 1, run, idle.set))
        return made[-1], idle

    yield make
    for coroutines in made:
        coroutines.stop()
        for thread in threads():
            thread.join(SOON)
        coroutines._loop.close()


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "mainspring-loop"]


async def stop():
    asyncio.get_running_loop().stop()


async def leave():
    raise SystemExit


async def press_ctrl_c():
    raise KeyboardInterrupt


@pytest.mark.parametrize("harm", [stop, leave, press_ctrl_c])
def test_no_task_ends_the_loop_of_the_others(make, harm):
    """What runs goes on, and what comes later runs too; asyncio lets such exceptions of a Task out of the loop."""
    harmed, done = threading.Event(), threading.Event()

    async def run(item, slot):
        try:
            await asyncio.create_task(item())
        except BaseException:
            await asyncio.sleep(0)
        harmed.set()

    async def end_well():
        done.set()

    coroutines, _ = make(run)
    coroutines.put([harm])
    assert harmed.wait(SOON)
    coroutines.put([end_well])

    assert done.wait(SOON)


def test_the_loop_ends_when_it_is_told_to_stop(make):
    """A stopped pool leaves no thread behind."""
    coroutines, idle = make(lambda item, slot: asyncio.sleep(0))
    coroutines.put(["a"])
    assert idle.wait(SOON)
    [thread] = threads()
    coroutines.stop()

    thread.join(SOON)
    assert not thread.is_alive()


def test_no_job_sees_what_the_one_before_has_set(make):
    """Each has a context of its own, also the one that begins when another ends."""
    seen = []

    async def run(item, slot):
        seen.append(tenant.get())
        tenant.set(item)

    coroutines, idle = make(run)
    coroutines.put("abcdef")

    assert idle.wait(SOON)
    assert seen == [None] * 6


def test_what_has_left_the_row_counts_as_active(make):
    """Or a worker that asks in this moment ends under the job that is about to begin."""
    active = []

    class Row(deque):
        def popleft(self):
            item = super().popleft()
            active.append(coroutines.active)
            return item

    async def run(item, slot):
        pass

    coroutines, idle = make(run)
    coroutines._waiting = Row()
    coroutines.put("a")

    assert idle.wait(SOON)
    assert active == [1]


@pytest.mark.django_db(transaction=True)
def test_a_broken_connection_is_dropped_though_others_use_its_thread(monkeypatch):
    """With enough async jobs there is always one, and every query of all of them would fail for ever."""
    thread = OrmThread(0)
    connection = thread.submit(lambda: connections["default"]).result()
    thread.submit(connection.ensure_connection).result()
    connection.errors_occurred = True
    monkeypatch.setattr(connection, "is_usable", lambda: False)
    thread.users = 1

    thread.tidy()

    assert thread.submit(lambda: connection.connection).result() is None
    thread.shutdown()
