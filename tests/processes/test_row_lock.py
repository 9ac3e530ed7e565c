"""Rows and tables, locked for long by somebody else."""

import threading
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connection, transaction

from mainspring.clock import SECOND
from mainspring.job import State
from mainspring.models import Finished, Job, Worker
from mainspring.testing import travel
from tests.app import tasks
from tests.app.models import Note
from tests.processes.conftest import SOON, end_of, wait_until

pytestmark = pytest.mark.skipif(settings.DATABASE == "sqlite", reason="it locks no rows")

LOCK_TABLE = {
    "postgresql": ["LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"],
    "mysql": ["LOCK TABLES {table} WRITE", "UNLOCK TABLES"],
}


@contextmanager
def elsewhere(lock, unlock=lambda: None):
    """Hold what `lock` locks, in a transaction of another connection than the test's."""
    is_locked, go = threading.Event(), threading.Event()

    def hold():
        with transaction.atomic():
            lock()
            is_locked.set()
            go.wait(SOON)
            unlock()
        connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert is_locked.wait(SOON)
        yield
    finally:
        go.set()
        thread.join()


def locked(rows):
    """Hold the locks of these rows."""
    return elsewhere(lambda: list(rows.select_for_update()))


def locked_table(model):
    """Hold the lock that an ALTER TABLE takes."""
    statements = [text.format(table=model._meta.db_table) for text in LOCK_TABLE[connection.vendor]]
    return elsewhere(*(lambda text=text: connection.cursor().execute(text) for text in statements))


def beats(broker):
    return sum(known.beat for known in broker.workers())


def test_a_due_job_that_somebody_has_locked_is_not_asked_for_without_a_pause(transactional_db, broker):
    """It is past due for as long, and whoever promotes would go round and round."""
    result = tasks.noop.using(run_after=timedelta(hours=1)).enqueue()
    with travel(timedelta(hours=2)):
        with locked(Job.objects.filter(id=result.id)):
            again_at = broker.promote(10)
            assert again_at - broker.clock.moment() == pytest.approx(SECOND // 4, abs=SECOND // 5)
            assert broker.get(result.id).state == State.DEFERRED
        assert broker.promote(10) is None
        assert broker.get(result.id).state == State.READY


def test_a_job_that_cannot_be_taken_back_yet_holds_nobody_up(start_worker, broker):
    """Neither the other jobs of its worker, nor the beats: others would take the whole worker for dead."""
    running, other = [tasks.note_and_hang.enqueue(name, SOON) for name in "ab"]
    worker = start_worker("--processes", "2", "--rescue-after", "5")
    wait_until(lambda: Note.objects.count() == 2)
    with locked(Job.objects.filter(id=running.id)):
        for child in worker.children():
            child.kill()
        worker.wait_for_line("cannot be taken back yet")
        wait_until(lambda: broker.get(other.id).crashes == 1)
        before = beats(broker)
        wait_until(lambda: beats(broker) >= before + 6)
        assert end_of(tasks.noop.enqueue(), broker).state == State.SUCCEEDED

    wait_until(lambda: broker.get(running.id).crashes == 1)
    assert "went silent" not in worker.output


def test_an_old_row_that_cannot_be_pruned_yet_keeps_no_supervisor_from_beating(start_worker, broker):
    """Whoever looks at the history may lock some of it."""
    result = tasks.noop.enqueue()
    assert start_worker("--drain").wait() == 0
    Finished.objects.update(finished_at=1)
    with locked(Finished.objects.all()):
        worker = start_worker("--rescue-after", "5")
        worker.wait_for_line("could not be pruned")
        before = beats(broker)
        wait_until(lambda: beats(broker) >= before + 4)
        assert end_of(tasks.noop.enqueue(), broker).state == State.SUCCEEDED
        assert Finished.objects.filter(id=result.id).exists()
    assert "The store cannot be used" not in worker.output


def test_a_table_that_is_being_altered_keeps_no_supervisor_from_stopping(start_worker, broker):
    """It cannot beat then, and says so; signals are heeded all the same."""
    worker = start_worker("--rescue-after", "5")
    worker.wait_for_line("is ready")
    with locked_table(Worker):
        worker.wait_for_line("The store cannot be used")
        worker.terminate()
        assert worker.wait(15) == 0, worker.output
