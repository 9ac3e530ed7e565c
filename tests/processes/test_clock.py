"""Wall clocks that are wrong, or set while a worker runs: the store's clock counts, and time that only grows."""

import json
import os
import subprocess
import sys
from datetime import timedelta

import pytest
from django.conf import settings
from django.utils import timezone

from mainspring import job as machine
from mainspring.clock import SECOND
from mainspring.job import State
from tests.app import tasks
from tests.app.models import Note
from tests.processes.conftest import SOON, end_of, wait_until
from tests.wall_clock import ENVIRONMENT

HOUR = 3600
with_a_clock_of_its_own = pytest.mark.skipif(
    settings.STORE == "sqlite", reason="SQLite has no clock of its own: it is this machine's"
)


@pytest.fixture
def wall_clock(tmp_path):
    """The file that says by how many seconds the wall clock of a worker is off."""
    file = tmp_path / "shift"
    file.write_text("0")
    return file


@with_a_clock_of_its_own
@pytest.mark.parametrize("shift", [HOUR, -HOUR])
def test_a_worker_with_a_wrong_clock_keeps_the_store_s_time(start_worker, broker, wall_clock, shift):
    """Deferred jobs run when they are due, not an hour off; what it writes down is dated by the store."""
    wall_clock.write_text(str(shift))
    soon = tasks.noop.using(run_after=timezone.now() + timedelta(seconds=3)).enqueue()
    later = tasks.noop.using(run_after=timezone.now() + timedelta(minutes=30)).enqueue()
    retried = tasks.succeed_at_third.enqueue()
    start_worker(**{ENVIRONMENT: str(wall_clock)})
    job = end_of(soon, broker)
    broker.beat([])  # which sets our own clock by the store's

    # An hour off is what it must not be; a machine under load may take seconds to start the worker.
    assert 0 <= job.started_at - job.run_after < 60 * SECOND
    assert abs(broker.clock.moment() - job.finished_at) < 60 * SECOND
    assert broker.get(later.id).state == State.DEFERRED
    assert end_of(retried, broker).state == State.SUCCEEDED


@with_a_clock_of_its_own
@pytest.mark.parametrize("shift", [HOUR, -HOUR])
def test_what_a_process_with_a_wrong_clock_enqueues(start_worker, broker, wall_clock, shift):
    """Its jobs are dated, and fall due, by the store's clock too."""
    wall_clock.write_text(str(shift))
    start_worker().wait_for_line("is ready")
    [at_once] = mainspring(wall_clock, "enqueue", "tests.app.tasks.noop", "--json")
    [soon] = mainspring(wall_clock, "enqueue", "--in", "2", "tests.app.tasks.noop", "--json")
    broker.beat([])

    for id in (at_once["id"], soon["id"]):
        job = broker.wait_for(id, SOON)
        assert abs(broker.clock.moment() - job.enqueued_at) < 60 * SECOND
        assert 0 <= job.started_at - (job.run_after or job.enqueued_at) < 15 * SECOND


@with_a_clock_of_its_own
def test_a_process_whose_clock_is_fast_prunes_nothing_too_early(broker, wall_clock, transactional_db):
    """What ended half an hour ago is not an hour and a half old."""
    wall_clock.write_text(str(HOUR))
    result = tasks.noop.enqueue()
    broker.beat([])
    [job] = broker.claim("w1", None, 1)
    at = broker.clock.moment() - HOUR // 2 * SECOND
    broker.settle([machine.succeed(job, "null", at, at)])
    [kept] = mainspring(wall_clock, "prune", "--older-than", "45m", "--json")
    assert (kept["backends"][0]["total"], broker.get(result.id).state) == (0, State.SUCCEEDED)

    [pruned] = mainspring(wall_clock, "prune", "--older-than", "15m", "--json")
    assert (pruned["backends"][0]["total"], broker.get(result.id)) == (1, None)


def mainspring(wall_clock, *words):
    """Run a verb in a process with this wall clock, and return the JSON that it writes."""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", ENVIRONMENT: str(wall_clock)}
    command = [sys.executable, "-m", "django", "mainspring", *words]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in ran.stdout.splitlines()]


@pytest.mark.parametrize("shift", [HOUR, -HOUR])
def test_a_clock_that_is_set_while_workers_run_kills_nobody(start_worker, broker, wall_clock, shift):
    """Neither those whose clock it is nor those who watch them; and nothing ends too early."""
    environment = {ENVIRONMENT: str(wall_clock)}
    running = tasks.note_and_hang.enqueue("a", 8)
    workers = [start_worker("--rescue-after", "5", **environment), start_worker("--rescue-after", "5", **environment)]
    wait_until(Note.objects.exists)
    wall_clock.write_text(str(shift))
    job = end_of(running, broker)

    assert (job.state, job.attempts, job.crashes, job.interruptions) == (State.SUCCEEDED, 1, 0, 0)
    assert end_of(tasks.noop.enqueue(), broker).state == State.SUCCEEDED
    assert broker.get(running.id) is not None  # not pruned as if it were older
    assert "is dead" not in "".join(worker.output for worker in workers)
