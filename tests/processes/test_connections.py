"""A worker whose connections end under it, or are refused: it loses nothing, and runs nothing twice."""

import os
import re
import threading
from collections import Counter
from contextlib import contextmanager

import pytest
from django.conf import settings
from django.db import connection, connections

import mainspring
from mainspring.compat import task_backends
from mainspring.job import ENDS, State
from tests import sessions
from tests.app import tasks
from tests.app.models import Note
from tests.processes.conftest import end_of, wait_until
from tests.processes.proxy import Proxy
from tests.torture import events
from tests.torture.tasks import once

OUTAGE = "The store cannot be used"
OVER = "The store can be used again"
DOWN = 3.0  # seconds; a worker tries again after 0.2, 0.7 and 1.7 of them, and its supervisor every second
UNTOUCHED = (State.SUCCEEDED, 1, 0, 0)


def counters(job):
    return job.state, job.attempts, job.crashes, job.interruptions


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """How often the code of each job has run, by the ids of the jobs; for `once`."""
    log = tmp_path / "events"
    log.touch()
    monkeypatch.setenv(events.ENVIRONMENT, str(log))
    return lambda: Counter(event.job_id for event in map(events.read, log.read_bytes().splitlines()) if event)


# Connections that are ended.


def test_a_job_goes_on_while_its_workers_connections_end(server, start_worker, broker):
    """All of them, that of the running job included; its outcome is stored, and the next job runs."""
    result = tasks.note_and_hang.enqueue("a", 1)
    worker = start_worker()
    wait_until(Note.objects.exists)
    assert sessions.end_others() >= 3

    assert counters(end_of(result, broker)) == UNTOUCHED
    assert end_of(tasks.add.enqueue(1, 2), broker).result == "3"
    assert Note.objects.count() == 1
    assert worker.output.count("is ready") == 1


def test_connections_that_end_again_and_again_under_load(server, start_worker, broker, runs):
    """Each job runs once: what had been claimed is run, and what had ended is stored."""
    results = mainspring.enqueue_many(once, [()] * 3000)
    worker = start_worker("--processes", "2")
    for number in range(1, 20):
        wait_until(lambda number=number: len(ended(broker)) >= number * 100)
        sessions.end_others()

    wait_until(lambda: len(ended(broker)) == len(results), timeout=60)
    assert runs() == Counter(result.id for result in results)
    assert {counters(job) for job in ended(broker)} == {UNTOUCHED}
    assert worker.output.count("is ready") == 2


def ended(broker):
    return broker.search(states=ENDS, limit=10_000)


# Replies that are lost.


class Loss(Proxy):
    """
    Loses the reply to one statement, by ending the connection instead of passing it on.

    The statement is the first in which `pattern` is found; where it stands in a transaction of the worker, it is the
    reply to the commit. By then the server has done what it was asked.
    """

    def __init__(self, server, pattern):
        super().__init__(server)
        self.was_lost = threading.Event()
        self._pattern = re.compile(pattern)
        self._needs_commit = server.vendor == "mariadb"
        self._last = READY if server.vendor == "postgresql" else b""
        self._asked = set()
        self._loses = set()

    def asked(self, link, said):
        if not self.was_lost.is_set():
            if self._pattern.search(said):
                self._asked.add(link)
            if link in self._asked and (not self._needs_commit or b"COMMIT" in said):
                self._loses.add(link)
        return said

    def answered(self, link, said):
        if link not in self._loses or not (self._needs_commit or said.endswith(self._last)):
            return said
        if said.startswith(b"-NOSCRIPT"):  # nothing was done, and it is asked again
            return said
        self.was_lost.set()
        return None


READY = b"Z\x00\x00\x00\x05I"  # PostgreSQL's last word about a statement that was no part of a transaction

CLAIM = {"postgresql": rb"UPDATE mainspring_job AS job SET state = 'running'", "mariadb": rb"SET state = 'running'"}
FINISH = {"postgresql": rb"DELETE FROM mainspring_job AS job USING", "mariadb": rb"INSERT INTO mainspring_finished"}
PUT_BACK = {"postgresql": rb"UPDATE mainspring_job AS job SET state = outcome", "mariadb": rb"UPDATE JSON_TABLE"}
if settings.STORE == "redis":
    from mainspring.brokers.redis import scripts

    CLAIM["redis"] = scripts.CLAIM.digest.encode()
    FINISH["redis"] = PUT_BACK["redis"] = scripts.SETTLE.digest.encode()


@pytest.fixture
def start_losing(server, start_worker):
    """Start a worker that loses the reply to one statement, and return it and the loss."""
    losses = []

    def start(patterns, *flags):
        losses.append(Loss(server, patterns[server.vendor]).__enter__())
        return start_worker(*flags, **losses[-1].environment), losses[-1]

    yield start
    for loss in losses:
        loss.__exit__()


def test_an_outcome_whose_reply_was_lost_is_not_run_again(start_losing, broker, runs):
    """The worker asks again, and is told that the outcome is there."""
    results = [once.enqueue() for _ in range(5)]
    worker, loss = start_losing(FINISH)

    assert {counters(end_of(result, broker)) for result in results} == {UNTOUCHED}
    worker.wait_for_line(OVER)
    assert loss.was_lost.is_set()
    assert runs() == Counter(result.id for result in results)
    assert "is dropped" not in worker.output


def test_a_retry_whose_reply_was_lost_is_counted_once(start_losing, broker):
    """The attempts are as many as there were."""
    result = tasks.succeed_at_third.enqueue()
    _, loss = start_losing(PUT_BACK)

    job = end_of(result, broker)
    assert (*counters(job), job.result) == (State.SUCCEEDED, 3, 0, 0, "3")
    assert loss.was_lost.is_set()


def test_a_claim_whose_reply_was_lost_is_not_forgotten(start_losing, broker, runs):
    """The jobs are this worker's by then, so nobody else would ever run them."""
    results = [once.enqueue() for _ in range(5)]
    _, loss = start_losing(CLAIM)

    assert {counters(end_of(result, broker)) for result in results} == {UNTOUCHED}
    assert loss.was_lost.is_set()
    assert runs() == Counter(result.id for result in results)


# A server that is away.


def test_an_outage_and_its_end_are_said_once_by_each_process(server, start_worker, broker):
    """Not at every try; and the worker goes on by itself."""
    ends_meanwhile, ends_later = (tasks.note_and_hang.enqueue("a", seconds) for seconds in (1, DOWN + 2))
    worker = start_worker()
    wait_until(lambda: Note.objects.count() == 2)
    server.stop()
    connections.close_all()
    threading.Event().wait(DOWN)
    server.start()

    assert [counters(end_of(result, broker)) for result in (ends_meanwhile, ends_later)] == [UNTOUCHED] * 2
    worker.wait_for_line(OVER, count=2)
    assert end_of(tasks.add.enqueue(1, 2), broker).result == "3"
    assert_said_once(worker)


def assert_said_once(worker):
    """By the supervisor and by its child, in any number of lines that a driver's error may have."""
    said = [worker.output.count(text) for text in (OUTAGE, OVER)]
    assert said == [2, 2], worker.output
    assert len(worker.lines) < 20, worker.output


@contextmanager
def refusing(server):
    """Let the server take no more connections of the tests' user, who has one at least, until the block ends."""
    if server.vendor == "redis":
        command = task_backends["default"].broker._client.command
        command("CONFIG SET", "maxclients", 1)
        yield
        command("CONFIG SET", "maxclients", 10_000)
        return
    connection.ensure_connection()
    limit, least, usual = {
        "postgresql": ("ALTER ROLE mainspring CONNECTION LIMIT {}", 0, -1),
        "mariadb": ("ALTER USER mainspring@'127.0.0.1' WITH MAX_USER_CONNECTIONS {}", 1, 500),
    }[server.vendor]
    server.run_sql([limit.format(least), *AT_ONCE[server.vendor]])
    try:
        yield
    finally:
        server.run_sql([limit.format(usual), *AT_ONCE[server.vendor]])


AT_ONCE = {"postgresql": [], "mariadb": ["FLUSH PRIVILEGES"]}


def test_a_server_that_takes_no_more_connections(server, start_worker, broker):
    """It is an outage like any other."""
    ends_meanwhile, ends_later = (tasks.note_and_hang.enqueue("a", seconds) for seconds in (1, DOWN + 2))
    worker = start_worker()
    wait_until(lambda: Note.objects.count() == 2)
    with refusing(server):
        sessions.end_others()
        worker.wait_for_line(OUTAGE, count=2)
        threading.Event().wait(DOWN)
    worker.wait_for_line(OVER, count=2)

    assert [counters(end_of(result, broker)) for result in (ends_meanwhile, ends_later)] == [UNTOUCHED] * 2
    assert end_of(tasks.add.enqueue(1, 2), broker).result == "3"
    assert_said_once(worker)


LISTENS = {
    "postgresql": "LISTEN mainspring",
    "mariadb": "SELECT MASTER_GTID_WAIT",
    "redis": "subscribe",
}.get(settings.STORE)


def test_a_worker_that_cannot_listen_finds_its_jobs_all_the_same(server, start_worker, broker):
    """It says so once, looks with each beat, and listens again as soon as it can."""
    worker = start_worker()
    end_of(tasks.noop.enqueue(), broker)
    wait_until(lambda: sessions.others(LISTENS))
    with refusing(server):
        assert sessions.end_others(LISTENS) == 1
        job = end_of(tasks.noop.enqueue(), broker, timeout=10)
        assert sessions.others(LISTENS) == []
    wait_until(lambda: sessions.others(LISTENS))

    assert counters(job) == UNTOUCHED
    assert worker.output.count("Listening for work was cut off") == 1
    assert len(worker.lines) < 10, worker.output


def test_whoever_waits_with_the_last_connection_asks_again(server, start_worker, broker):
    """To be told of the end of a job takes one more."""
    result = tasks.note_and_hang.enqueue("a", 1)
    start_worker()
    wait_until(Note.objects.exists)
    with refusing(server):
        assert result.get(timeout=30) is None


# Replicas.


SETTINGS = """
from tests.settings import *

DATABASE_ROUTERS = ["tests.processes.test_connections.ReadsElsewhere"]
"""


class ReadsElsewhere:
    """Reads from a replica; here it is an empty database, as one that has not heard of anything yet."""

    def db_for_read(self, model, **hints):
        return "other"

    def db_for_write(self, model, **hints):
        return "default"


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_reads_from_a_replica(start_worker, settings, tmp_path):
    """The worker, results and waits use the database that is written to, whatever a replica shows."""
    settings.DATABASE_ROUTERS = ["tests.processes.test_connections.ReadsElsewhere"]
    (tmp_path / "replica_settings.py").write_text(SETTINGS)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    result = tasks.add.enqueue(1, 2)
    later = tasks.note_and_hang.enqueue("a", 0.5)
    start_worker(DJANGO_SETTINGS_MODULE="replica_settings", PYTHONPATH=path)

    assert result.get(timeout=30) == 3
    assert tasks.add.get_result(result.id).return_value == 3
    assert later.get(timeout=30) is None
    assert not Note.objects.exists(), "a replica should have been asked"
