"""The processes of a worker, as its supervisor keeps them: here each is no more than a line to it."""

import io
import itertools
import selectors
import socket
import time

import pytest

from mainspring.brokers.base import WorkerInfo
from mainspring.worker import children as module
from mainspring.worker.channel import Channel
from mainspring.worker.child_process import ChildProcess
from mainspring.worker.children import Children
from mainspring.worker.lifelines import Lifelines
from mainspring.worker.plan import Plan


class Process:
    """What a child does as far as `Popen` shows it."""

    def __init__(self, pid):
        self.pid = pid
        self.returncode = None

    def poll(self):
        return self.returncode

    def kill(self):
        self.returncode = -9


class Crew:
    """Children whose processes say and do what a test tells them."""

    def __init__(self, folder, **flags):
        self.started = []
        self.deaths = []
        self.fails = None
        self.numbers = itertools.count(1)
        self.selector = selectors.DefaultSelector()
        self.children = Children(
            Plan("default", "default", flags),
            self.selector,
            Lifelines(folder),
            on_start=lambda worker: None,
            on_death=self.deaths.append,
            on_message=lambda child, message: None,
        )

    def start(self, plan, worker_id, memory):
        if self.fails is not None:
            raise self.fails
        near, far = socket.socketpair()
        process = Process(next(self.numbers))
        child = ChildProcess(process, plan, WorkerInfo(worker_id), Channel(near, waits=False), memory, io.BytesIO())
        child.process, child.far = process, Channel(far, waits=False)
        self.started.append(child)
        return child

    def start_missing(self, has_alone=False):
        """Return the numbers of the processes that were started."""
        before = len(self.started)
        self.children.start_missing(has_alone=has_alone)
        return [child.pid for child in self.started[before:]]

    def say(self, number, **message):
        self.started[number - 1].far.send(**message)
        self.children.hear(self.started[number - 1])

    def end(self, number, code=0, **last_words):
        if last_words:
            self.started[number - 1].far.send(**last_words)
        self.started[number - 1].process.returncode = code
        self.children.reap()

    def heard(self, number):
        """Return what this process has been told since the last call."""
        return self.started[number - 1].far.receive()

    def told(self, word):
        """Return the numbers of the processes that have been told this."""
        return [child.pid for child in self.started if any(word in message for message in child.far.receive())]


@pytest.fixture
def make(tmp_path, monkeypatch):
    made = []

    def make(**flags):
        crew = Crew(tmp_path / "workers", **flags)
        monkeypatch.setattr(module.ChildProcess, "start", crew.start)
        made.append(crew)
        return crew

    yield make
    for crew in made:
        crew.selector.close()
        for child in crew.started:
            child.far.close()
            child.close()
            child.memory.close()


OVER = {"over": True, "has_run_any": True, "has_left_any": False}


def test_ends_are_announced_by_whoever_is_ready_first(make):
    """A worker whose only process has just died has nobody to announce what that death has ended."""
    crew = make()
    crew.start_missing()
    crew.children.announce(["first"])
    crew.children.announce(["second"])
    crew.say(1, ready=True)

    assert crew.heard(1) == [{"ended": ["first", "second"]}]


def test_what_runs_alone_is_left_alone(make):
    """Receivers and the outbox could crash the process, and the job would be blamed."""
    crew = make()
    assert crew.start_missing(has_alone=True) == [1, 2]
    crew.say(2, ready=True)
    crew.children.announce(["job"])
    crew.children.sweep()

    assert crew.heard(2) == []


def test_hup_replaces_also_what_is_only_starting(make):
    """It may have loaded the old code already."""
    crew = make()
    crew.start_missing()
    crew.say(1, ready=True)
    crew.children.roll()
    assert crew.start_missing() == [2]
    crew.children.roll()
    assert crew.start_missing() == [3]
    crew.say(2, ready=True)
    assert crew.told("retire") == [1]
    crew.say(3, ready=True)

    assert crew.told("retire") == [2]


def test_hup_replaces_the_process_for_jobs_that_run_alone_too(make):
    """That one at once: another comes when there is something for it to do."""
    crew = make(processes=2)
    crew.start_missing(has_alone=True)
    for number in (1, 2, 3):
        crew.say(number, ready=True)
    crew.end(1, code=-9)
    crew.children._starts_at = 0.0
    assert crew.start_missing() == [4]
    crew.say(4, ready=True)
    crew.children.roll()
    assert crew.told("retire") == [3]
    assert crew.start_missing() == [5, 6]
    crew.say(5, ready=True)
    assert crew.told("retire") == [2]
    crew.say(6, ready=True)

    assert crew.told("retire") == [4]


def test_old_processes_go_on_where_the_new_code_does_not_start(make):
    """And nothing is started again and again."""
    crew = make(processes=2)
    crew.start_missing()
    for number in (1, 2):
        crew.say(number, ready=True)
    crew.children.roll()
    crew.start_missing()
    crew.end(3, code=70)

    assert crew.told("retire") == []
    crew.end(4, code=70)
    assert not crew.children.is_short()


def test_hup_tries_broken_code_again_at_once(make):
    """Whoever sends it has mended something, if only by an installation."""
    crew = make(reload=True)
    crew.start_missing()
    crew.end(1, code=70, broken="SyntaxError")
    assert crew.start_missing() == []
    crew.children.roll()

    assert crew.start_missing() == [2]


def test_a_process_that_has_taken_its_jobs_is_replaced_at_once(make):
    """Its last one may last; and that it ends later does not mean that nothing is left to do."""
    crew = make(max_jobs=10, drain=True)
    crew.start_missing()
    crew.say(1, ready=True)
    crew.say(1, retiring="has taken its 10 jobs")
    assert crew.start_missing() == [2]
    crew.end(1, **OVER)

    assert not crew.children.is_done
    crew.end(2, **OVER)
    assert crew.children.is_done


def test_a_start_that_fails_is_tried_again_later(make, caplog):
    """The system may be short of processes or files for a moment; nothing of the attempt is left."""
    crew = make()
    crew.fails = BlockingIOError("no more processes")
    assert crew.start_missing() == []
    assert crew.children.is_short()
    assert crew.children.next_start() > 0
    assert list(crew.children._lifelines._folder.iterdir()) == []
    assert "no more processes" in caplog.text
    crew.fails, crew.children._starts_at = None, 0.0

    assert crew.start_missing() == [1]


def test_nothing_of_a_process_that_ended_while_it_was_told_something_is_left(make):
    """Its number may be the next one's."""
    crew = make()
    crew.start_missing()
    crew.say(1, ready=True)
    crew.started[0].far.close()
    crew.children.wake()
    crew.end(1, code=-9)

    assert not crew.selector.get_map()


@pytest.mark.parametrize(
    ("last_words", "seconds"),
    [({"has_run_any": True}, 0), ({}, module.ALONE_SOON), ({"has_left_any": True}, module.ALONE_AGAIN_AFTER)],
)
def test_when_a_process_for_jobs_that_run_alone_is_followed_by_another(make, monkeypatch, last_words, seconds):
    """Only one that could not import what was there is no use; one that found nothing may have come a moment early."""
    now = time.monotonic()
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    crew = make()
    crew.start_missing(has_alone=True)
    crew.end(2, **OVER | {"has_run_any": False} | last_words)

    now += 0.9 * seconds
    assert crew.children.needs_alone(True) is (seconds == 0)
    now += 0.2 * seconds
    assert crew.children.needs_alone(True)


def test_a_process_that_had_no_room_to_hear_is_told_again(make):
    """A task that holds the interpreter keeps it from reading, while wake-ups come."""
    crew = make()
    crew.start_missing()
    crew.say(1, ready=True)
    full = "x" * 1000
    while crew.started[0].channel.send(full=full):
        pass
    crew.children.reload()
    heard = []
    for _ in range(3):  # so often, as the last wake-up was sent in part
        heard += crew.heard(1)
        crew.children.tell_again()
    heard += crew.heard(1)

    assert [message for message in heard if "full" not in message] == [{"retire": True}]


def test_what_a_process_cannot_run_goes_with_the_next_beat(make):
    crew = make()
    crew.start_missing()
    crew.say(1, ready=True)
    assert crew.children.infos()[0].facts["left_alone"] == []
    crew.say(1, left_alone=["app.tasks.gone"])

    assert crew.children.infos()[0].facts["left_alone"] == ["app.tasks.gone"]
