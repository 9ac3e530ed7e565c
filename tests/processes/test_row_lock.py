"""A row of a job, locked for long by somebody else."""

import threading
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connection, transaction

from mainspring.clock import SECOND
from mainspring.job import State
from mainspring.models import Job
from mainspring.testing import travel
from tests.app import tasks
from tests.app.models import Note
from tests.processes.conftest import SOON, end_of, wait_until

pytestmark = pytest.mark.skipif(settings.DATABASE == "sqlite", reason="it locks no rows")


@contextmanager
def locked(job_id):
    """Hold the lock of a job's row, from another connection than the test's."""
    is_locked, go = threading.Event(), threading.Event()

    def lock():
        with transaction.atomic():
            assert Job.objects.select_for_update().filter(id=job_id).exists()
            is_locked.set()
            go.wait(SOON)
        connection.close()

    thread = threading.Thread(target=lock)
    thread.start()
    assert is_locked.wait(SOON)
    yield
    go.set()
    thread.join()


def test_a_due_job_that_somebody_has_locked_is_not_asked_for_without_a_pause(transactional_db, broker):
    """It is past due for as long, and whoever promotes would go round and round."""
    result = tasks.noop.using(run_after=timedelta(hours=1)).enqueue()
    with travel(timedelta(hours=2)):
        with locked(result.id):
            again_at = broker.promote(10)
            assert again_at - broker.clock.moment() == pytest.approx(SECOND // 4, abs=SECOND // 5)
            assert broker.get(result.id).state == State.DEFERRED
        assert broker.promote(10) is None
        assert broker.get(result.id).state == State.READY


def test_a_job_that_cannot_be_taken_back_yet_keeps_no_supervisor_from_beating(start_worker, broker):
    """Its process has died; others would take the whole worker for dead, were it to wait for the lock."""
    running = tasks.note_and_hang.enqueue("a", SOON)
    worker = start_worker("--processes", "2", "--rescue-after", "5")
    wait_until(Note.objects.exists)
    with locked(running.id):
        for child in worker.children():
            child.kill()
        worker.wait_for_line("The store cannot be used")
        before = sum(known.beat for known in broker.workers())
        wait_until(lambda: sum(known.beat for known in broker.workers()) >= before + 6)
        assert end_of(tasks.noop.enqueue(), broker).state == State.SUCCEEDED

    wait_until(lambda: broker.get(running.id).crashes == 1)
    assert "went silent" not in worker.output
