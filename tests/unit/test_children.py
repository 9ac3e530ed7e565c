"""The processes of a worker, as its supervisor keeps them; here they are only pretended."""

import selectors
import socket

import pytest

from mainspring.brokers.base import WorkerInfo
from mainspring.worker import children as module
from mainspring.worker.channel import Channel
from mainspring.worker.children import Children
from mainspring.worker.lifelines import Lifelines
from mainspring.worker.plan import Plan


class Pretended:
    """A child whose other side the test plays."""

    def __init__(self, plan):
        near, self._far = socket.socketpair()
        self.plan, self.pid, self.info = plan, 1, WorkerInfo("w")
        self.channel, self.far = Channel(near, waits=False), Channel(self._far, waits=False)
        self.is_ready = self.is_over = self.is_broken = self.is_retiring = self.is_dead = False

    def heard(self, message):
        self.is_ready = self.is_ready or "ready" in message
        self.is_over = self.is_over or "over" in message

    def has_ended(self):
        return self.is_dead

    def die(self):
        self.is_dead = True
        self.far.close()

    def retire(self):
        self.is_retiring = True

    def age(self):
        return 100.0

    def death(self):
        return None

    def how_it_ended(self):
        return "ended"

    def close(self):
        self.channel.close()


class Starter:
    """Stands in for ChildProcess: keeps what was started."""

    def __init__(self):
        self.started = []

    def start(self, plan, worker_id, memory):
        memory.close()
        self.started.append(Pretended(plan))
        return self.started[-1]


@pytest.fixture
def starter(monkeypatch):
    starter = Starter()
    monkeypatch.setattr(module, "ChildProcess", starter)
    yield starter
    for child in starter.started:
        child.channel.close()
        child.far.close()


@pytest.fixture
def children(starter, tmp_path):
    with selectors.DefaultSelector() as selector:
        plan = Plan("default", "default", {"processes": 1})
        nothing = lambda *_: None  # noqa: E731
        yield Children(plan, selector, Lifelines(tmp_path), nothing, nothing, nothing)


def make_ready(children, child):
    child.far.send(ready=True)
    children.hear(child)


def test_a_child_that_dies_while_it_is_told_something_is_replaced(children, starter):
    """The message that fails closes the line before its end was read; the next child may get the same descriptor."""
    children.start_missing(has_alone=False)
    [first] = starter.started
    make_ready(children, first)
    first.die()
    children.wake()
    children.reap()

    children.start_missing(has_alone=False)
    assert len(starter.started) == 2


def test_what_ended_with_the_only_child_is_announced_by_the_next(children, starter):
    """The signals for it need a process with the project's code, and there is none for a while."""
    children.start_missing(has_alone=False)
    [child] = starter.started
    children.announce(["a"])
    assert child.far.receive() == []

    make_ready(children, child)
    assert child.far.receive() == [{"ended": ["a"]}]


def test_a_process_for_jobs_that_run_alone_takes_no_other_ones_place(children, starter):
    """HUP replaces every process for ordinary jobs, also while one runs what crashed."""
    children.start_missing(has_alone=True)
    main, alone = starter.started
    make_ready(children, main)
    children.roll()
    make_ready(children, alone)
    assert not main.is_retiring

    children.start_missing(has_alone=False)
    make_ready(children, starter.started[2])
    assert main.is_retiring


def test_a_process_for_jobs_that_run_alone_keeps_no_old_code(children, starter):
    """It is not waited for until others are ready: it ends, and another is started when there is need."""
    children.start_missing(has_alone=True)
    _, alone = starter.started
    make_ready(children, alone)
    children.roll()

    assert alone.is_retiring
