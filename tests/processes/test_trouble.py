"""A real worker whose store cannot be used for a while, or holds what nobody can use: it says so and loses nothing."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from django.conf import settings
from django.db import connection, connections

import mainspring
from mainspring.brokers.base import WorkerInfo
from mainspring.job import State
from tests import servers
from tests.app import tasks
from tests.app.models import Note
from tests.processes.conftest import end_of, wait_until
from tests.stores import only_databases

only_sqlite = pytest.mark.skipif(settings.STORE != "sqlite", reason="a server has no file that others lock")
PLACE = "TASKS['default']" if settings.STORE == "redis" else "DATABASES['default']"


def test_a_job_that_ends_while_the_server_is_away(start_worker, broker, server):
    """Its outcome is stored when the server is back, and it does not run twice."""
    result = tasks.note_and_hang.enqueue("a", 1)
    worker = start_worker()
    wait_until(Note.objects.exists)
    server.stop()
    connections.close_all()
    worker.wait_for_line("trying again until it can")
    with pytest.raises(mainspring.BrokerUnavailable):
        tasks.noop.enqueue()
    server.start()
    later = tasks.add.enqueue(1, 2)

    job = end_of(result, broker)
    assert (job.state, job.attempts, job.crashes, job.interruptions) == (State.SUCCEEDED, 1, 0, 0)
    assert end_of(later, broker).result == "3"
    assert Note.objects.count() == 1


def test_a_worker_that_stops_while_the_server_is_away(start_worker, broker, server):
    """It ends in time all the same. What it ran goes back when a worker finds that, and was no crash."""
    result = tasks.note_and_hang.enqueue("a")
    worker = start_worker("--shutdown-timeout", "1")
    wait_until(Note.objects.exists)
    server.stop()
    connections.close_all()
    worker.wait_for_line("trying again until it can")
    worker.terminate()
    code = worker.wait()
    server.start()
    start_worker()
    wait_until(lambda: Note.objects.count() == 2)

    job = broker.get(result.id)
    assert (job.state, job.attempts, job.crashes, job.interruptions) == (State.RUNNING, 0, 0, 1)
    assert code == 0


def test_a_worker_that_starts_while_the_server_is_away(start_worker, broker, server):
    """It waits, says for what, and then works."""
    result = tasks.add.enqueue(1, 2)
    server.stop()
    connections.close_all()
    worker = start_worker()
    worker.wait_for_line(f"Waiting to start: {PLACE}")
    server.start()

    assert end_of(result, broker).result == "3"
    worker.terminate()
    assert worker.wait() == 0, worker.output


@pytest.mark.parametrize("verb", ["status", "health", "check"])
def test_a_verb_while_the_store_is_away(verb):
    """One line says why, and the exit code that something is wrong."""
    away = {"NAME": "/nowhere/jobs.sqlite3"} if settings.STORE == "sqlite" else {"PORT": "1"}
    command = [sys.executable, "-m", "django", "mainspring", verb]
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", **with_settings(**away)}
    if settings.STORE == "redis":
        environment[servers.REDIS_ENVIRONMENT] = "redis://127.0.0.1:1"
    ran = subprocess.run(command, env=environment, capture_output=True, text=True)

    assert ran.returncode == 1
    assert PLACE in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr


@only_sqlite
def test_a_job_that_ends_while_the_file_is_locked(start_worker, broker):
    """The outcome waits for the lock, and the worker for the store."""
    result = tasks.note_and_hang.enqueue("a", 0.5)
    worker = start_worker(**with_settings(OPTIONS={"timeout": 0.1}))
    wait_until(Note.objects.exists)
    with closing(sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        worker.wait_for_line("trying again until it can. DATABASES['default']: database is locked")

    job = end_of(result, broker)
    assert (job.state, job.attempts, job.crashes, job.interruptions) == (State.SUCCEEDED, 1, 0, 0)
    worker.wait_for_line("The store can be used again")


@only_sqlite
def test_a_file_that_cannot_be_written(start_worker, broker):
    """The worker says so, leaves the jobs where they are, and stops when it is told to."""
    result = tasks.noop.enqueue()
    worker = start_worker(**with_settings(NAME=f"file:{connection.settings_dict['NAME']}?mode=ro"))
    worker.wait_for_line("attempt to write a readonly database")
    worker.terminate()

    assert worker.wait() == 0, worker.output
    assert broker.get(result.id).state == State.READY


@only_databases
def test_rows_that_nobody_can_use(start_worker, broker):
    """Those jobs fail or wait, each by name; the others run, and the worker lives."""
    broker.beat([WorkerInfo("damaged")])
    results = [tasks.add.enqueue(number, 1) for number in range(5)]
    damage("UPDATE mainspring_worker SET facts = '{' WHERE id = %s", "damaged")
    damage("UPDATE mainspring_job SET arguments = '{' WHERE id = %s", results[0].id)
    damage("UPDATE mainspring_job SET task_path = 'tests.app.tasks.gone' WHERE id = %s", results[1].id)
    damage("UPDATE mainspring_job SET state = 'dreaming' WHERE id = %s", results[2].id)
    if connection.vendor == "sqlite":
        damage("UPDATE mainspring_job SET priority = 'high' WHERE id = %s", results[3].id)
        damage("UPDATE mainspring_job SET due_at = 'soon', state = 'deferred' WHERE id = %s", tasks.noop.enqueue().id)
    worker = start_worker()

    assert [end_of(result, broker).result for result in results[3:]] == ["4", "5"]
    assert end_of(results[0], broker).state == State.FAILED
    worker.wait_for_line("Jobs of tests.app.tasks.gone wait")
    assert [broker.get(result.id).state for result in results[1:3]] == ["ready", "dreaming"]
    worker.terminate()
    assert worker.wait() == 0, worker.output


def damage(statement, id):
    with connection.cursor() as cursor:
        cursor.execute(statement, [id])


def with_settings(**changes):
    """What changes the database settings of a worker."""
    databases = json.loads(os.environ[servers.ENVIRONMENT])
    return {servers.ENVIRONMENT: json.dumps({alias: {**found, **changes} for alias, found in databases.items()})}
