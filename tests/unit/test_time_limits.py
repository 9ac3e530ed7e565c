"""Time limits: what they interrupt, what they leave alone, and what becomes of code that takes no notice."""

import asyncio
import json
import threading
import time

import pytest

import mainspring
from mainspring import job as machine
from mainspring.brokers.memory import MemoryBroker
from mainspring.conf import parse
from mainspring.exceptions import NotInJob, TimeLimitExceeded
from mainspring.worker.execution import Execution
from mainspring.worker.stacks import stack_of
from mainspring.worker.time_limits import Run, TimeLimits

LONG = 30.0


@mainspring.task(timeout=0.05, backend="memory")
def spin():
    """Never end by itself."""
    while True:
        pass


@mainspring.task(timeout=0.05, backend="memory")
def spin_carefully():
    """Take every Exception for an error that can be handled."""
    while True:
        try:
            while True:
                pass
        except Exception:
            continue


@mainspring.task(timeout=0.05, backend="memory")
def clean_up():
    """Notice, and end well."""
    try:
        spin.func()
    except TimeLimitExceeded:
        return "cleaned up"


@mainspring.task(timeout=0.05, grace=0.05, backend="memory")
def ignore(until):
    """Take no notice before `until` says so."""
    while not until.is_set():
        try:
            spin.func()
        except TimeLimitExceeded:
            until.wait(LONG)


@mainspring.task(timeout=0.05, backend="memory")
async def linger():
    await asyncio.sleep(LONG)


@mainspring.task(timeout=0.05, grace=0.05, backend="memory")
async def linger_on(until):
    try:
        await asyncio.sleep(LONG)
    except asyncio.CancelledError:
        while not until.is_set():
            await asyncio.sleep(0.01)


@mainspring.task(backend="memory")
def short():
    deadline = time.monotonic() + 0.0005
    while time.monotonic() < deadline:
        pass


@mainspring.task(timeout=LONG, backend="memory")
def ask():
    job = mainspring.current_job()
    return [job.id, job.attempt, job.time_left()]


@mainspring.task(timeout=LONG, backend="memory")
async def ask_async():
    await asyncio.sleep(0)
    return mainspring.current_job().id


@mainspring.task(backend="memory")
def unlimited():
    return mainspring.current_job().time_left()


@mainspring.task(timeout=0, backend="memory")
def never_limited():
    return mainspring.current_job().time_left()


@mainspring.task(timeout=0.05, max_attempts=2, backend="memory")
def spin_twice():
    spin.func()


class Bench:
    """Runs tasks as a worker process does, without a store."""

    def __init__(self, **options):
        self.given_up = []
        self.broker = MemoryBroker("memory")
        self.limits = TimeLimits(self._give_up)
        options = parse("memory", {"OPTIONS": options})
        self.execution = Execution(self.broker, options, type(self), self.limits)
        self.has_given_up = threading.Event()

    def _give_up(self, run):
        self.given_up.append((run, stack_of(run.thread_id, run.future)))
        self.has_given_up.set()

    def begin(self, task, queue_name="default"):
        at = self.broker.clock.moment()
        job = machine.new_job(task_path=task.module_path, arguments="{}", queue_name=queue_name, priority=0, at=at)
        job = machine.claim(job, "w1", 1, at)
        return job, self.execution.limited(job, task, 0)

    def run(self, task, *args, queue_name="default"):
        """Return the job as it is after its run; `args` need not be JSON."""
        job, run = self.begin(task, queue_name)
        self.execution._prepare = lambda job, task: (task.func, list(args), {})
        call = self.execution.arun if task.is_async else self.execution.run
        ran = call(job, task, run)
        if task.is_async:
            ran = asyncio.run(ran)
        if run is not None:
            self.limits.end(run)
        return ran.job, run

    def errors(self, job):
        return [(error["exception_class_path"], error["traceback"]) for error in json.loads(job.errors)]


@pytest.fixture(autouse=True)
def nothing_is_watched_afterwards(monkeypatch):
    """A run that a test has not ended would be interrupted half a minute later, in the middle of another test."""
    begun, begin = [], TimeLimits.begin

    def note_and_begin(limits, run):
        begun.append((limits, run))
        begin(limits, run)

    monkeypatch.setattr(TimeLimits, "begin", note_and_begin)
    yield
    for limits, run in begun:
        limits._runs.discard(run)


@pytest.fixture
def bench():
    return Bench()


@pytest.mark.parametrize("task", [spin, spin_carefully, linger])
def test_what_lasts_too_long_is_interrupted_and_has_failed(bench, task):
    """The error says which limit it was, and the traceback where the code stood."""
    job, _ = bench.run(task)

    [(path, traceback)] = bench.errors(job)
    assert (job.state, path) == ("failed", "mainspring.exceptions.TimeLimitExceeded")
    assert "longer than its timeout of 0.05 s" in traceback
    assert f"in {task.func.__name__}" in traceback


def test_a_task_may_take_notice_and_end_well(bench):
    """What it returns then is its result."""
    job, _ = bench.run(clean_up)

    assert (job.state, job.result) == ("succeeded", '"cleaned up"')


def test_a_timeout_is_tried_again_like_an_error(bench):
    """While attempts are left."""
    job, _ = bench.run(spin_twice)

    assert (job.state, job.attempts) == ("deferred", 1)


@pytest.mark.parametrize("task", [ignore, linger_on])
def test_what_takes_no_notice_is_given_up_after_the_grace_time(bench, task):
    """Somebody else then has the outcome to write, and sees where the code stands."""
    until = threading.Event()
    runner = threading.Thread(target=bench.run, args=(task, until))
    runner.start()
    assert bench.has_given_up.wait(LONG)
    until.set()
    runner.join(LONG)

    [(run, stack)] = bench.given_up
    assert f"in {task.func.__name__}" in stack
    assert "mainspring/worker" not in stack
    assert run.conclude() is False


# Python drops what is raised in a callback of its garbage collector, as hypothesis has one, and tells of it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interruption_never_reaches_what_follows(bench):
    """Also when it comes in the very moment in which the task ends: the thread's own code goes on undisturbed."""
    states = set()
    for _ in range(500):
        job, _ = bench.begin(short)
        run = Run(job, short, 0, timeout=0.0005, grace=LONG)
        bench.execution._prepare = lambda job, task: (task.func, [], {})
        ran = bench.execution.run(job, short, run)
        states.add(ran.job.state)
        for _ in range(100):
            time.monotonic()  # here it would strike
    assert states <= {"succeeded", "failed"}
    assert bench.given_up == []


def test_an_interruption_that_strikes_while_it_is_disarmed_is_one(bench):
    """The code has ended into it, so that its connections are dropped; the error says which limit it was."""
    job, run = bench.begin(ask)

    def disarm():
        raise TimeLimitExceeded

    run.disarm = disarm
    bench.execution._prepare = lambda job, task: (task.func, [], {})
    ran = bench.execution.run(job, ask, run)

    assert run.is_late
    assert "longer than its timeout of 30 s" in bench.errors(ran.job)[0][1]


def limited(**limits):
    """A run that is about to be interrupted, and soon after given up."""
    job = machine.new_job(task_path="a.b", arguments="{}", queue_name="default", priority=0, at=0)
    run = Run(job, spin, 0, **{"timeout": 0.0, "grace": 0.0} | limits)
    run.arm()
    return run


def test_a_slot_is_not_used_again_before_its_run_has_been_given_up():
    """What is noted about the hung job would otherwise be noted about the next one."""
    begun, go, ends = threading.Event(), threading.Event(), []
    limits = TimeLimits(lambda run: begun.set() or go.wait(LONG))
    run = limited()
    limits.begin(run)
    assert begun.wait(LONG)
    ending = threading.Thread(target=lambda: ends.append(limits.end(run)))
    ending.start()
    ending.join(0.1)
    assert ends == []
    go.set()
    ending.join(LONG)

    assert ends == [False]


def test_an_error_in_giving_one_up_leaves_the_others_in_force(caplog):
    """The supervisor ends such a process if it must."""
    limits, interrupted = TimeLimits(lambda run: 1 / 0), threading.Event()
    first, second = limited(), limited(timeout=0.1, grace=LONG)
    second.interrupt = interrupted.set
    for run in (first, second):
        limits.begin(run)

    assert interrupted.wait(LONG)
    assert limits.end(first) is False


def test_a_second_thread_is_watched_while_the_first_still_runs():
    """The one whose time is up first is interrupted first, whoever began first."""
    bench = Bench()
    until = threading.Event()
    job, long_run = bench.begin(ask)
    long_run.slot = 1
    bench.limits.begin(long_run)
    job, _ = bench.run(spin)

    assert job.state == "failed"
    assert not long_run.was_interrupted
    until.set()


@pytest.mark.parametrize(
    ("task", "options", "queue_name", "expected"),
    [
        (unlimited, {}, "default", None),
        (unlimited, {"timeout": 20}, "default", 20),
        (unlimited, {"timeout": 20, "queues": {"mail": {"timeout": "30s"}}}, "mail", 30),
        (unlimited, {"timeout": 20, "queues": {"mail": {"timeout": 0}}}, "mail", None),
        (unlimited, {"timeout": 20, "queues": {"mail": {"timeout": 30}}}, "default", 20),
        (never_limited, {"timeout": 20}, "default", None),
    ],
)
def test_the_task_goes_before_the_queue_and_the_queue_before_the_options(task, options, queue_name, expected):
    """0 lifts a limit that stands above."""
    job, _ = Bench(**options).run(task, queue_name=queue_name)

    left = json.loads(job.result)
    assert left is None if expected is None else expected - 5 < left <= expected


def test_code_finds_its_job_and_the_time_that_is_left(bench):
    """Sync and async alike, from anywhere in the call."""
    job, _ = bench.run(ask)
    id, attempt, left = json.loads(job.result)
    assert (id, attempt) == (job.id, 1)
    assert LONG - 5 < left <= LONG

    job, _ = bench.run(ask_async)
    assert json.loads(job.result) == job.id


def test_outside_of_a_job_there_is_none():
    """It says so instead of returning something that is not there."""
    with pytest.raises(NotInJob, match="where no job"):
        mainspring.current_job()
