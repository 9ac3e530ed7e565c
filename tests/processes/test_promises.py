"""What is promised of jobs, where a worker process dies, is replaced, or has lost its connections."""

import contextlib
import threading

import pytest
from django.conf import settings
from django.db import OperationalError, connection

from mainspring.job import State
from mainspring.worker.connections import TRUSTED
from tests.app import hard, tasks
from tests.app.models import Note
from tests.processes.conftest import end_of, wait_until

with_server = pytest.mark.skipif(settings.DATABASE == "sqlite", reason="needs a server that can hang up")


def test_a_job_that_may_run_once_does_not_run_again_when_its_outcome_was_not_stored_yet(start_worker, broker):
    """Its process dies of another job while the outcome waits for others."""
    paid, killer = hard.pay.enqueue(), hard.die_for_good.enqueue()
    start_worker("--threads", "1")
    end_of(killer, broker)
    end_of(paid, broker)

    assert Note.objects.filter(text="paid").count() == 1


def test_the_end_of_a_job_that_killed_the_only_process_is_announced(start_worker, broker):
    """By the process that takes its place."""
    killer = hard.die_for_good.enqueue()
    start_worker(NOTE_ENDS="1")
    end_of(killer, broker)

    wait_until(Note.objects.filter(text=f"{killer.id} quarantined").exists)


@pytest.mark.parametrize("flags", [["--drain"], ["--max-idle", "3"]])
def test_a_worker_whose_processes_are_replaced_ends_when_nothing_is_left(start_worker, broker, flags):
    """A process that has taken its share of jobs has not seen the end of them."""
    results = [tasks.noop.enqueue() for _ in range(30)]

    assert start_worker("--max-jobs", "10", *flags).wait() == 0
    assert {broker.get(result.id).state for result in results} == {State.SUCCEEDED}


def test_a_job_that_hangs_does_not_keep_its_process_from_being_replaced(start_worker, broker):
    """The old process takes no more jobs, so somebody else has to."""
    tasks.hang.enqueue()
    results = [tasks.noop.enqueue() for _ in range(10)]
    start_worker("--max-jobs", "5")

    assert {end_of(result, broker).state for result in results} == {State.SUCCEEDED}


def test_a_worker_for_async_jobs_passes_the_others_by(start_worker, broker):
    """However many stand before the first async one."""
    for _ in range(300):
        tasks.noop.enqueue()
    result = tasks.async_noop.enqueue()
    start_worker("--threads", "0")

    assert end_of(result, broker).state == State.SUCCEEDED


def test_a_program_that_a_task_has_started_can_be_terminated(start_worker, broker):
    """It heeds TERM, although the worker's processes do not."""
    result = hard.terminate_a_program.enqueue()
    start_worker()

    assert end_of(result, broker).result == "-15"


@with_server
def test_a_connection_that_the_server_has_closed_meanwhile_fails_no_job(start_worker, broker):
    """As after a night without jobs, or a restart of the server."""
    start_worker("--threads", "1")
    end_of(hard.count.enqueue(), broker)
    hang_up()
    threading.Event().wait(2 * TRUSTED)  # the silence in which it happens

    assert end_of(hard.count.enqueue(), broker).state == State.SUCCEEDED


def hang_up():
    """Close every connection to the database but our own."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            return
        cursor.execute("SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()")
        for (id,) in cursor.fetchall():
            with contextlib.suppress(OperationalError):  # it has gone by itself
                cursor.execute(f"KILL {id}")
