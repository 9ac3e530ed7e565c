"""A whole project behind pgbouncer in transaction mode: all works, and what cannot be told is asked for in time."""

import json
import os
import threading
import time
from contextlib import suppress
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import connection, transaction

import mainspring
from mainspring.brokers.database import prepared
from mainspring.clock import SECOND
from mainspring.compat import TaskResultDoesNotExist
from mainspring.exceptions import BrokerUnavailable
from mainspring.models import Finished
from tests import servers
from tests.app import hard, tasks
from tests.app.models import Note
from tests.processes.conftest import end_of, wait_until

BY_ASKING = 2.0  # seconds; a worker asks every half a second, and a beat would be up to 5 s late
pytestmark = pytest.mark.skipif(settings.DATABASE != "postgresql", reason="pgbouncer speaks to PostgreSQL only")


@pytest.fixture(scope="module")
def pgbouncer():
    server = servers.running(settings.DATABASE)
    if server is None:
        pytest.skip("needs a database server that this process has started")
    try:
        bouncer = servers.PgBouncer(server)
    except servers.ServerMissing as error:
        pytest.skip(f"!!! POOLERS ARE NOT TESTED. {error}")
    with bouncer:
        yield bouncer


@pytest.fixture(autouse=True)
def pooled(pgbouncer, transactional_db, monkeypatch, settings):
    """This process and those that it starts reach the database through the pooler only."""
    settings.TASKS = settings.TASKS  # new brokers, which do not know yet what they can hear
    change = {"PORT": str(pgbouncer.port), "DISABLE_SERVER_SIDE_CURSORS": True}
    databases = json.loads(os.environ[servers.ENVIRONMENT])
    connection.close()
    for name, value in change.items():
        monkeypatch.setitem(connection.settings_dict, name, value)
        databases["default"][name] = value
    monkeypatch.setenv(servers.ENVIRONMENT, json.dumps(databases))
    yield
    connection.close()


def seconds_late(job):
    return (job.started_at - (job.run_after or job.enqueued_at)) / SECOND


def test_jobs_of_every_kind_run(start_worker):
    """Those that were there before the worker and those that come later, and their values are told."""
    before = [tasks.add.enqueue(1, 2), tasks.async_echo.enqueue("x"), tasks.note.enqueue("a")]
    start_worker()
    after = [tasks.mail.enqueue("a@example.org"), tasks.async_note.enqueue("b")]

    assert before[0].get(timeout=30) == 3
    assert before[1].get(timeout=30) == "x"
    assert after[0].get(timeout=30) == "a@example.org"
    assert {before[2].get(timeout=30), after[1].get(timeout=30)} == set(Note.objects.values_list("pk", flat=True))


def test_a_transaction_decides_about_its_jobs(start_worker):
    """The pooler keeps one connection for it until its end."""
    start_worker()
    with transaction.atomic():
        kept = tasks.add.enqueue(1, 2)
    with transaction.atomic():
        lost = tasks.add.enqueue(3, 4)
        transaction.set_rollback(True)

    assert kept.get(timeout=30) == 3
    with pytest.raises(TaskResultDoesNotExist):
        lost.refresh()


def test_retries_and_deferred_jobs_come_in_time(start_worker, broker):
    """By the worker's own knowledge of what falls due."""
    start_worker().wait_for_line("is ready")
    retried = tasks.succeed_at_third.enqueue()
    deferred = tasks.noop.using(run_after=timedelta(seconds=2)).enqueue()

    assert retried.get(timeout=30) == 3
    assert 0 <= seconds_late(end_of(deferred, broker)) < BY_ASKING


def test_a_worker_that_is_not_woken_asks_often_enough(start_worker, broker):
    """LISTEN succeeds behind the pooler, but nothing is ever heard."""
    start_worker().wait_for_line("is ready")
    late = []
    for pause in (0.3, 1.1, 1.7, 2.3):
        threading.Event().wait(pause)
        late.append(seconds_late(end_of(tasks.noop.enqueue(), broker)))

    print("seconds late:", *late)
    assert max(late) < BY_ASKING


@pytest.mark.parametrize("get", [lambda result: result.get(30), lambda result: async_to_sync(result.aget)(30)])
def test_who_waits_for_a_result_asks_often_enough(start_worker, broker, get):
    """The end of a job is not told either."""
    start_worker()
    result = tasks.note_and_hang.enqueue("a", 2.5)
    wait_until(Note.objects.exists)
    assert get(result) is None

    late = time.time() - broker.get(result.id).finished_at / SECOND
    print("seconds late:", late)
    assert late < BY_ASKING


def test_many_clients_share_few_connections(start_worker, pgbouncer):
    """Whichever connection a statement meets, each job runs once."""
    results = mainspring.enqueue_many(hard.note_pid, [(str(number),) for number in range(300)])
    start_worker("--processes", "2", "--threads", "8")
    wait_until(lambda: Finished.objects.count() == len(results), timeout=60)

    notes = list(Note.objects.values_list("text", flat=True))
    assert sorted(int(note.split()[0]) for note in notes) == list(range(300))
    assert len({note.split()[1] for note in notes}) == 2
    counters = Finished.objects.values_list("state", "attempts", "crashes", "interruptions")
    assert set(counters) == {("succeeded", 1, 0, 0)}
    assert 0 < connections_of(pgbouncer) <= pgbouncer.POOL


def connections_of(pgbouncer):
    """How many connections to the database under test the server has from the pooler."""
    server = pgbouncer.postgresql.connect()
    name = connection.settings_dict["NAME"]
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND usename = 'mainspring'"
    with server:
        return server.execute(query, [name]).fetchone()[0]


def test_statements_are_sent_as_they_are_after_the_first_strange_session(broker, monkeypatch, pgbouncer):
    """The job is claimed all the same, and so are those after it."""
    monkeypatch.setattr(prepared, "_given_up", set())
    mainspring.enqueue_many(tasks.noop, [()] * 3)

    def claims():
        with suppress(BrokerUnavailable):  # as long as the pooler has not noticed that its sessions are gone
            return len(broker.claim("w1", None, 1)) == 1

    assert claims()
    with pgbouncer.postgresql.connect() as server:
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND usename = 'mainspring'"
        server.execute(query, [connection.settings_dict["NAME"]])
    wait_until(claims)

    assert prepared._given_up == {"default"}
    assert claims()


def test_a_clean_stop(start_worker, broker):
    """What a pooler keeps open holds nobody up."""
    worker = start_worker()
    tasks.noop.enqueue().get(timeout=30)
    worker.terminate()

    assert worker.wait() == 0, worker.output
    assert broker.workers() == []
