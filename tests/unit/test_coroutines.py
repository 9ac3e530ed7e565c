"""The event loop that runs async jobs."""

import asyncio
import threading

import pytest

from mainspring.worker.coroutines import Coroutines

SOON = 5.0


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
