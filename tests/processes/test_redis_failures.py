"""Redis that dies with and without its log, a replica that takes over with an older state, connections that hang."""

import threading
from datetime import timedelta

import pytest
from django.db import transaction

import mainspring
from mainspring import outbox
from mainspring.job import LIVE, State
from mainspring.testing import travel
from tests import servers
from tests.app import tasks
from tests.app.models import Note
from tests.processes.conftest import end_of, wait_until
from tests.processes.proxy import Proxy
from tests.stores import only_redis

pytestmark = [only_redis, pytest.mark.django_db(transaction=True, databases=["default", "other"])]


@pytest.fixture
def use(settings):
    """Let this process have its jobs on another server: `use(url)` returns the broker there."""

    def use(url):
        default = settings.TASKS["default"]
        settings.TASKS = settings.TASKS | {"default": default | {"OPTIONS": default["OPTIONS"] | {"url": url}}}
        return mainspring.backends.broker_for("default")

    return use


def on(url):
    """What leads a worker to this server."""
    return {servers.REDIS_ENVIRONMENT: url}


def texts():
    return sorted(Note.objects.values_list("text", flat=True))


# Redis dies.


def test_with_every_write_on_the_disk_nothing_acknowledged_is_lost(own_server, use, start_worker):
    """Killed three times while somebody enqueues and a worker works."""
    server = own_server(appendonly="yes", appendfsync="always")
    broker, worker = use(server.url), start_worker(**on(server.url))
    acknowledged, stopping = [], threading.Event()

    def enqueue():
        number = 0
        while not stopping.wait(0.002):
            number += 1
            try:
                acknowledged.append(tasks.add.enqueue(number, 1).id)
            except mainspring.BrokerUnavailable:
                continue

    thread = threading.Thread(target=enqueue)
    thread.start()
    for _ in range(3):
        threading.Event().wait(1.0)
        server.kill()
        threading.Event().wait(0.3)
        server.start()
    threading.Event().wait(1.0)
    stopping.set()
    thread.join()
    wait_until(lambda: not broker.search(states=LIVE, limit=1))

    ended = {job.id: job for job in broker.search(limit=100_000)}
    assert len(acknowledged) > 200
    assert ended.keys() >= set(acknowledged)
    assert {(job.state, job.crashes) for job in ended.values()} == {(State.SUCCEEDED, 0)}
    assert worker.output.count("is ready") == 1


def test_what_a_power_failure_takes_from_a_log_that_is_written_each_second(own_server, use, start_worker):
    """What was enqueued since the last write is gone, what had ended since then runs again; the worker goes on."""
    server = own_server(appendonly="yes", appendfsync="everysec", **{"auto-aof-rewrite-percentage": 0})
    broker, log = use(server.url), server.data / "appendonly.aof"
    kept = tasks.note.enqueue("kept")
    wait_until(lambda: log.read_bytes().count(kept.id.encode()) > 0)
    written = log.stat().st_size
    worker = start_worker(**on(server.url))
    end_of(kept, broker)
    lost = tasks.note.enqueue("lost")
    end_of(lost, broker)
    server.kill()
    with log.open("r+b") as file:
        file.truncate(written)
    server.start()

    wait_until(lambda: texts() == ["kept", "kept", "lost"])
    assert end_of(kept, broker).state == State.SUCCEEDED
    assert broker.get(lost.id) is None
    assert end_of(tasks.add.enqueue(1, 2), broker).result == "3"
    assert worker.output.count("is ready") == 1


def test_without_persistence_all_is_lost_and_workers_go_on(own_server, use, start_worker):
    """Jobs that wait and jobs that have ended; the outcome of the running one is refused."""
    server = own_server(appendonly="no")
    broker = use(server.url)
    running = tasks.note_and_hang.enqueue("running", 2)
    waiting = tasks.noop.using(queue_name="mail").enqueue()
    worker = start_worker("--queues", "default", **on(server.url))
    wait_until(Note.objects.exists)
    server.kill()
    server.start()
    worker.wait_for_line("The store can be used again", count=1)

    assert broker.get(running.id) is broker.get(waiting.id) is None
    assert end_of(tasks.add.enqueue(1, 2), broker).result == "3"
    worker.wait_for_line("is dropped")
    assert broker.get(running.id) is None
    wait_until(lambda: len(broker.workers()) == 1)


def test_a_replica_takes_over_with_an_older_state(own_server, use, start_worker):
    """What it has heard of is not lost: it runs, again if need be. What it has not heard of is gone."""
    primary = own_server()
    replica = own_server(replicaof=f"127.0.0.1 {primary.port}")
    with Switch(primary) as switch:
        url = f"redis://127.0.0.1:{switch.port}/0?socket_timeout=2"
        broker = use(url)
        before, running = tasks.note.enqueue("before"), tasks.note_and_hang.enqueue("running", 3)
        worker = start_worker(**on(url))
        end_of(before, broker)
        wait_until(lambda: "running" in texts())
        waits = tasks.note.using(run_after=timedelta(seconds=3)).enqueue("waits")
        with replica.connect() as client:
            wait_until(lambda: client.hlen("{mainspring:default}:jobs") == 3)
            client.replicaof("NO", "ONE")
        after = tasks.note.enqueue("after")
        end_of(after, broker)
        switch.to(replica)
        primary.kill()

        assert end_of(running, broker).state == State.SUCCEEDED
        assert end_of(waits, broker).state == State.SUCCEEDED
        assert broker.get(before.id).state == State.SUCCEEDED
        assert broker.get(after.id) is None
        assert end_of(tasks.add.enqueue(1, 2), broker).result == "3"
        assert texts() == ["after", "before", "running", "waits"]
        assert worker.output.count("is ready") == 1


class Switch(Proxy):
    """Leads to one server, and from some moment on to another."""

    @property
    def port(self):
        return self._door.getsockname()[1]

    def to(self, server):
        self._server_port = server.port
        for link in self._links:
            link.cut()


# Connections.


class Frozen(Switch):
    """Passes nothing on while it is frozen, and tells nobody: a cable that was pulled."""

    def __init__(self, server):
        super().__init__(server)
        self.flows = threading.Event()
        self.flows.set()

    def asked(self, link, said):
        self.flows.wait()
        return said

    answered = asked


@pytest.mark.parametrize("seconds", [1, 6])
def test_a_connection_that_hangs(server, use, start_worker, seconds):
    """For less time than anybody waits, and for more: jobs run once, and the worker goes on."""
    with Frozen(server) as frozen:
        url = f"redis://127.0.0.1:{frozen.port}/0?socket_timeout=3"
        broker = use(server.url)
        meanwhile = tasks.note_and_hang.enqueue("meanwhile", 2)
        worker = start_worker(**on(url))
        wait_until(Note.objects.exists)
        frozen.flows.clear()
        others = [tasks.note.enqueue(str(number)) for number in range(5)]
        threading.Event().wait(seconds)
        frozen.flows.set()

        for result in [meanwhile, *others]:
            job = end_of(result, broker)
            assert (job.state, job.attempts, job.crashes) == (State.SUCCEEDED, 1, 0)
        assert texts() == [*"01234", "meanwhile"]
        assert worker.output.count("is ready") == 1


def test_whoever_enqueues_into_a_cut_cable_is_told_in_time(server, use):
    """Not after minutes, as the system would."""
    with Frozen(server) as frozen:
        use(f"redis://127.0.0.1:{frozen.port}/0?socket_timeout=0.5")
        tasks.noop.enqueue()
        frozen.flows.clear()
        with pytest.raises(mainspring.BrokerUnavailable, match=r"TASKS\['default'\] OPTIONS\['url'\] .*[Tt]imeout"):
            tasks.noop.enqueue()
        frozen.flows.set()

    assert len(use(server.url).search(states=[State.READY])) in (1, 2), "the second may have arrived"


def test_in_a_transaction_a_server_that_is_away_costs_nothing(own_server, use):
    """The outbox keeps the jobs, and a sweep sends them when it is back."""
    server = own_server()
    broker = use(server.url)
    server.stop()
    with transaction.atomic():
        results = [tasks.add.enqueue(number, 1) for number in range(3)]
    server.start()
    with travel(10):
        assert outbox.sweep(broker) == 3

    assert [broker.get(result.id).state for result in results] == [State.READY] * 3
