"""SQLite's one write lock, held for long by somebody else."""

import sqlite3
import threading
import time

import pytest
from django.conf import settings
from django.db import connection

from mainspring.job import State
from tests.app import hard, tasks
from tests.app.models import Note
from tests.processes.conftest import end_of, wait_until

pytestmark = pytest.mark.skipif(settings.DATABASE != "sqlite", reason="only SQLite has one lock for all writers")

LEASE = 0.6 * 5  # of --rescue-after 5


@pytest.fixture
def write_lock():
    """Hold the database's write lock until the test lets it go."""
    other = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None, check_same_thread=False)
    other.execute("PRAGMA busy_timeout = 30000")

    class Lock:
        def take(self):
            other.execute("BEGIN IMMEDIATE")

        def release(self):
            other.execute("ROLLBACK")

    yield Lock()
    other.close()


def test_nobody_is_taken_for_dead_while_nobody_can_write(start_worker, broker, write_lock):
    """Beats cannot be written for several leases: running jobs go on, and end once when the lock has gone."""
    results = [tasks.note_and_hang.enqueue(text, 1) for text in "ab"]
    workers = [start_worker("--rescue-after", "5", "--threads", "1") for _ in range(2)]
    wait_until(lambda: Note.objects.count() == 2)
    write_lock.take()
    threading.Event().wait(6 * LEASE)  # the passing of time is what is tested
    write_lock.release()

    for result in results:
        job = end_of(result, broker)
        assert (job.state, job.attempts, job.crashes, job.interruptions) == (State.SUCCEEDED, 1, 0, 0)
    assert Note.objects.count() == 2
    assert "is dead" not in "".join(worker.output for worker in workers)


def test_a_task_that_holds_the_lock_itself_is_no_death(start_worker, broker):
    """It keeps its own worker from beating, and another worker from claiming, but not from being alive."""
    held = hard.hold_the_write_lock.enqueue(3 * LEASE)
    workers = [start_worker("--rescue-after", "5") for _ in range(2)]
    job = end_of(held, broker, timeout=60)

    assert (job.state, job.attempts, job.crashes, job.interruptions) == (State.SUCCEEDED, 1, 0, 0)
    assert "is dead" not in "".join(worker.output for worker in workers)


def test_a_worker_stops_in_time_although_it_cannot_write(start_worker, broker, write_lock):
    """What it could not store runs again; the service manager need not lose its patience."""
    result = tasks.note_and_hang.enqueue("a", 0.5)
    worker = start_worker("--shutdown-timeout", "1")
    wait_until(Note.objects.exists)
    write_lock.take()
    began = time.monotonic()
    worker.terminate()
    code = worker.wait(60)
    write_lock.release()

    assert code == 0, worker.output
    assert time.monotonic() - began < 1 + 5 * 3
    start_worker()
    assert end_of(result, broker).state == State.SUCCEEDED
