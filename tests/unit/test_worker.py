"""The worker of one process, on a store in memory."""

import json
import threading
import time

import pytest
from django.db import connection

import mainspring
from mainspring.brokers.memory import MemoryBroker
from mainspring.compat import task_finished
from mainspring.conf import parse
from mainspring.exceptions import BrokerRefused, BrokerUnavailable
from mainspring.job import State, new_job
from mainspring.worker.worker import Worker

SOON = 10.0
LONG = 60.0

gates = {}


class Gate:
    """Where a job waits until the test lets it go on."""

    def __init__(self):
        self.reached, self.opened = threading.Event(), threading.Event()


@mainspring.task(backend="memory")
def hold(name):
    gates[name].reached.set()
    gates[name].opened.wait(LONG)


@mainspring.task(backend="memory", timeout=0.05, grace=0.05)
def hang(name):
    hold.func(name)


@mainspring.task(backend="memory")
def noop():
    pass


@mainspring.task(backend="memory")
async def async_noop():
    pass


class Reports:
    """What a worker has reported, and the trust that a test puts in it."""

    def __init__(self):
        self.reason = ""
        self.paths_left_alone = set()
        self.trusted_since = 0.0
        self.is_retiring = threading.Event()

    def started(self, slot, job_id, gives_up_at, thread_id): ...
    def ended(self, slot): ...
    def found_more(self): ...
    def busy(self): ...
    def set_clock(self, clock): ...
    def deferred(self, due_at): ...
    def left_alone(self, paths):
        self.paths_left_alone = set(paths)

    def retiring(self, reason):
        self.reason = reason
        self.is_retiring.set()

    def is_trusted(self, since=None):
        return since is None or since >= self.trusted_since


class Bench:
    """A worker in a thread, and its store."""

    def __init__(self, kind=Worker, **options):
        self.broker = MemoryBroker("memory")
        self.reports = Reports()
        options = parse("memory", {"OPTIONS": {"task_modules": [__name__]} | options})
        self.worker = kind(self.broker, options, Bench, worker_id="w", queues=None, reports=self.reports)
        self.has_settled_all = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        self.has_settled_all = self.worker.run()

    def start(self):
        self.thread.start()
        return self

    def push(self, task, *args):
        at = self.broker.clock.moment()
        arguments = json.dumps({"args": args, "kwargs": {}})
        job = new_job(task_path=task.module_path, arguments=arguments, queue_name="default", priority=0, at=at)
        self.broker.push([job])
        self.worker.wake()
        return job

    def hold(self, name="held", task=hold):
        """Have a job run that waits at its gate."""
        gates[name] = Gate()
        job = self.push(task, name)
        assert gates[name].reached.wait(SOON)
        return job

    def state(self, job):
        return self.broker.get(job.id).state

    def has_ended(self, timeout=SOON):
        self.thread.join(timeout)
        return not self.thread.is_alive()


@pytest.fixture
def make():
    made = []

    def make(*args, **options):
        made.append(Bench(*args, **options))
        return made[-1]

    yield make
    for gate in gates.values():
        gate.opened.set()
    for bench in made:
        bench.worker.stop(0.0)
        if bench.thread.ident:
            bench.thread.join(SOON)


@pytest.mark.parametrize(("options", "task"), [({"threads": 0}, noop), ({"async": 0}, async_noop)])
def test_a_job_of_a_kind_that_this_process_does_not_run_is_left_alone(make, options, task):
    """It is not claimed and given back without end."""
    bench = make(drain=True, **options)
    job = bench.push(task)
    bench.start()

    assert bench.has_ended()
    assert bench.state(job) == State.READY


def test_tasks_that_cannot_be_found_are_told(make):
    """So that whoever asks why a job waits learns it; and no more once they can be found."""
    bench = make(drain=True)
    at = bench.broker.clock.moment()
    facts = {"arguments": "{}", "queue_name": "default", "priority": 0, "at": at}
    job = new_job(task_path=f"{__name__}.nothing", **facts)
    bench.broker.push([job])
    bench.start()

    assert bench.has_ended()
    assert (bench.state(job), bench.reports.paths_left_alone) == (State.READY, {f"{__name__}.nothing"})


def test_a_worker_that_has_taken_its_jobs_says_so_while_they_run(make):
    """So that another takes its place meanwhile."""
    bench = make(max_jobs=1).start()
    held = bench.hold()

    assert bench.reports.is_retiring.wait(SOON)
    assert "1 job" in bench.reports.reason
    gates["held"].opened.set()
    assert bench.has_ended()
    assert bench.state(held) == State.SUCCEEDED


def test_a_stop_does_not_wait_for_what_has_been_given_up(make):
    """Only for what may still end."""
    bench = make(threads=2).start()
    neighbour = bench.hold()
    hung = bench.hold("hung", hang)
    assert bench.reports.is_retiring.wait(SOON)
    bench.worker.stop(LONG)
    gates["held"].opened.set()

    assert bench.has_ended()
    assert (bench.state(neighbour), bench.state(hung)) == (State.SUCCEEDED, State.FAILED)


def test_a_worker_that_ends_claims_nothing_more(make):
    """Though it is woken in that very moment: nobody would be there to run it."""

    class WokenAtTheEnd(Worker):
        def _is_over(self):
            if is_over := super()._is_over():
                jobs.append(bench.push(noop))
            return is_over

    jobs = []
    bench = make(WokenAtTheEnd, max_idle=0)
    bench.start()

    assert bench.has_ended()
    assert bench.has_settled_all
    assert {bench.state(job) for job in jobs} == {State.READY}


def test_what_a_thread_gives_back_goes_back_at_once(make):
    """Also while another job runs, and nothing else is to be done."""
    bench = make().start()
    bench.hold()
    job = bench.push(noop)
    wait_until(lambda: bench.state(job) == State.SUCCEEDED)
    at = bench.broker.clock.moment()
    wait_until(lambda: bench.worker._looks.are_over)
    bench.broker.push([new_job(task_path="a.b", arguments="", queue_name="default", priority=0, at=at)])
    [claimed] = bench.broker.claim("w", None, 1)
    bench.worker._give_back(claimed)

    wait_until(lambda: bench.state(claimed) == State.READY)


def test_a_job_that_the_store_will_not_take_back_ends_nobody(make, monkeypatch):
    """Others go back, and the worker goes on."""
    bench = make().start()
    bench.worker._reports.trusted_since = bench.broker.clock.elapsed() + LONG
    settle, odd = bench.broker.settle, []

    def refuse(jobs):
        if odd and odd[0].id in {job.id for job in jobs}:
            raise BrokerRefused("too large")
        return settle(jobs)

    monkeypatch.setattr(bench.broker, "settle", refuse)
    odd.append(bench.push(noop))
    wait_until(lambda: bench.state(odd[0]) == State.RUNNING)
    bench.reports.trusted_since = 0.0
    good = bench.push(noop)

    wait_until(lambda: bench.state(good) == State.SUCCEEDED)
    assert bench.thread.is_alive()


def test_what_was_claimed_before_a_gap_in_the_trust_is_not_begun(make):
    """Others may have taken it meanwhile; what is claimed afterwards runs."""
    bench = make(threads=1).start()
    bench.reports.trusted_since = bench.broker.clock.elapsed() + LONG
    job = bench.push(noop)
    wait_until(lambda: bench.broker.get(job.id).token is not None and bench.state(job) == State.READY)
    bench.reports.trusted_since = 0.0
    bench.worker.wake()

    wait_until(lambda: bench.state(job) == State.SUCCEEDED)


def test_an_end_is_announced_while_another_job_runs(make):
    """By any thread that is free."""
    bench = make(threads=2).start()
    ended = bench.push(noop)
    wait_until(lambda: bench.state(ended) == State.SUCCEEDED)
    bench.hold()
    heard = threading.Event()

    def receive(task_result, **kwargs):
        if task_result.id == ended.id:
            heard.set()

    task_finished.connect(receive)
    try:
        wait_until(lambda: bench.worker._looks.are_over)
        bench.worker.announce_ended([ended.id])
        assert heard.wait(3.0)
    finally:
        task_finished.disconnect(receive)


def test_jobs_that_ended_elsewhere_are_announced_when_the_store_answers(make, monkeypatch):
    """Nobody else knows of them any more; and a receiver that leaves keeps no other end from being told."""
    bench = make(threads=1).start()
    ended = [bench.push(noop) for _ in range(3)]
    wait_until(lambda: [bench.state(job) for job in ended] == [State.SUCCEEDED] * 3)
    get, answers, heard = bench.broker.get, iter([None, BrokerUnavailable("away")]), []

    def answer(id):
        if error := next(answers, None):
            raise error
        return get(id)

    def receive(task_result, **kwargs):
        heard.append(task_result.id)
        raise SystemExit

    wait_until(lambda: bench.worker._is_idle())
    task_finished.connect(receive)
    try:
        monkeypatch.setattr(bench.broker, "get", answer)
        bench.worker.announce_ended([job.id for job in ended])
        wait_until(lambda: len(heard) == 3)
    finally:
        task_finished.disconnect(receive)

    assert heard == [job.id for job in ended]


def wait_until(condition):
    deadline = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        threading.Event().wait(0.01)


def test_no_statement_is_remembered_after_use(make):
    """With DEBUG on Django remembers thousands, each as long as what the worker stores at once."""
    connection.queries_log.append({"sql": "x" * 1000})
    make().worker._use_store()

    assert not connection.queries_log


def test_a_connection_that_was_idle_for_long_goes_back(make, monkeypatch):
    """Once; and the next use opens it anew."""
    closed = []
    monkeypatch.setattr("mainspring.worker.worker.REST", 0.05)
    bench = make()
    monkeypatch.setattr(bench.broker, "close", lambda: closed.append(threading.current_thread()))
    bench.start()

    wait_until(lambda: closed == [bench.thread])
    job = bench.push(noop)
    wait_until(lambda: bench.state(job) == State.SUCCEEDED)
    wait_until(lambda: len(closed) == 2)


def test_a_job_that_lasts_costs_no_rounds(make, monkeypatch):
    """Whatever was due while it ran, the loop sleeps until there is something to do."""
    monkeypatch.setattr("mainspring.worker.worker.REST", 0.05)
    bench = make()
    rounds = []
    watch_rows = bench.worker._watch_rows
    monkeypatch.setattr(bench.worker, "_watch_rows", lambda: rounds.append(1) or watch_rows())
    bench.start()
    bench.hold()
    threading.Event().wait(0.3)
    rounds.clear()

    threading.Event().wait(0.3)

    assert len(rounds) < 5
