"""A disk without room: whoever enqueues is told, workers wait and say so once, and nothing is lost or half done."""

from collections import Counter

import pytest
from django.conf import settings

import mainspring
from mainspring.job import State
from mainspring.models import Finished, Job
from tests import servers
from tests.app.tasks import echo
from tests.processes import small_disk
from tests.processes.conftest import end_of, wait_until
from tests.stores import only_databases
from tests.torture import events, tasks

pytestmark = only_databases

OUTAGE = "The store cannot be used"
OVER = "The store can be used again"
PROCESSES = 2  # the supervisor and its child
MOST = 20_000  # jobs that surely fill the disk
UNTOUCHED = (State.SUCCEEDED, 1, 0, 0)


@pytest.fixture
def disk(transactional_db, monkeypatch):
    """A small disk that holds the tables of jobs."""
    server = servers.running(settings.DATABASE)
    if server is None and settings.DATABASE != "sqlite":
        pytest.skip("needs a database server that this process has started")
    try:
        with small_disk.with_tables(server, monkeypatch) as disk:
            yield disk
    except small_disk.Missing as reason:
        pytest.skip(f"!!! FULL DISKS ARE NOT TESTED: {reason}")


@pytest.fixture
def log(tmp_path, monkeypatch):
    """How often each job has written this kind of event, by its id."""
    file = tmp_path / "events"
    file.touch()
    monkeypatch.setenv(events.ENVIRONMENT, str(file))

    def log(kind):
        found = filter(None, map(events.read, file.read_bytes().splitlines()))
        return Counter(event.job_id for event in found if event.kind == kind)

    return log


def fill_with_jobs(disk):
    """Fill the disk, and then what room the database has of its own; return the jobs that were stored."""
    disk.fill()
    stored = []
    with pytest.raises(mainspring.BrokerUnavailable, match=r"DATABASES\['default'\].*(full|No space left)"):
        for _ in range(MOST):
            stored.append(tasks.once.enqueue())
    return stored


def test_an_enqueue_without_room_is_refused_whole(disk, broker):
    """The error names the database; what was stored before is there, and nothing of what was not."""
    stored = [result.id for result in fill_with_jobs(disk)]
    with pytest.raises(mainspring.BrokerUnavailable):
        mainspring.enqueue_many(echo, [("x" * 1000,)] * 300)

    assert sorted(Job.objects.values_list("id", flat=True)) == sorted(stored)
    disk.make_room()
    assert len(mainspring.enqueue_many(echo, [("x" * 1000,)] * 30)) == 30
    assert Job.objects.count() == len(stored) + 30


def start_without_room(disk, start_worker, log, *flags, seconds):
    """Start a worker with two jobs, one of which ends when there is no room any more; the other lasts so long."""
    ending, lasting = tasks.lasting.enqueue(1, 2), tasks.lasting.enqueue(2, seconds)
    worker = start_worker(*flags)
    wait_until(lambda: len(log("started")) == 2)
    fillers = fill_with_jobs(disk)
    worker.wait_for_line(OUTAGE)
    wait_until(lambda: log("ended")[ending.id] == 1)
    return worker, ending, lasting, fillers


def test_a_worker_without_room_waits_and_loses_nothing(disk, start_worker, broker, log):
    """What ends meanwhile is stored when there is room again, and nothing runs twice; each process says so once."""
    worker, *jobs, fillers = start_without_room(disk, start_worker, log, seconds=3)
    disk.make_room()

    wait_until(lambda: Job.objects.count() == 0)
    assert set(Finished.objects.values_list("state", "attempts", "crashes", "interruptions")) == {UNTOUCHED}
    assert log("ran") == Counter(result.id for result in fillers)
    assert log("started") == Counter(result.id for result in jobs)
    assert 1 <= worker.output.count(OUTAGE) <= PROCESSES, worker.output
    worker.wait_for_line(OVER, count=worker.output.count(OUTAGE))


def test_a_process_that_dies_without_room_is_replaced(disk, start_worker, broker, log):
    """To start another takes no room; when there is some, its job runs again."""
    worker, _, lasting, _ = start_without_room(disk, start_worker, log, seconds=10)
    worker.children()[0].kill()
    worker.wait_for_line("is ready", count=2)
    disk.make_room()

    job = end_of(lasting, broker, timeout=60)
    assert (job.state, job.crashes) == (State.SUCCEEDED, 1)
    wait_until(lambda: Job.objects.count() == 0)
    assert worker.process.poll() is None


def test_a_worker_without_room_stops_in_time(disk, start_worker, broker, log):
    """What it could not store or give back runs again elsewhere."""
    worker, ending, lasting, _ = start_without_room(
        disk, start_worker, log, "--shutdown-timeout", "1", "--rescue-after", "5", seconds=3600
    )
    worker.terminate()
    assert worker.wait(1 + 5) == 0, worker.output
    disk.make_room()
    start_worker("--rescue-after", "5")

    assert end_of(ending, broker).state == State.SUCCEEDED
    wait_until(lambda: log("started")[lasting.id] == 2)
