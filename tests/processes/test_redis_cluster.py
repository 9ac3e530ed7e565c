"""A real worker on a Cluster of three masters."""

from contextlib import suppress

import pytest
from django.conf import settings

from mainspring.exceptions import BrokerUnavailable
from mainspring.job import ENDS, State
from tests import servers
from tests.app import tasks
from tests.app.models import Note
from tests.processes.conftest import end_of, wait_until

pytestmark = [
    pytest.mark.skipif(not settings.CLUSTER, reason="needs a Cluster"),
    pytest.mark.django_db(transaction=True),
]


def test_it_runs_what_is_enqueued(start_worker, broker):
    """At once, later, again, and for somebody who waits."""
    worker = start_worker("--processes", "2")
    worker.wait_for_line("is ready", 2)

    assert tasks.add.enqueue(1, 2).get(timeout=20) == 3
    assert end_of(tasks.succeed_at_third.enqueue(), broker).attempts == 3
    worker.terminate()
    assert worker.wait() == 0, worker.output
    assert " ERROR " not in worker.output, worker.output


def test_a_dead_process_is_replaced_and_its_job_runs_again(start_worker, broker):
    """As on one server."""
    result = tasks.hang_once.enqueue()
    worker = start_worker()
    wait_until(Note.objects.exists)
    [child] = worker.children()
    child.kill()

    job = end_of(result, broker)
    assert (job.state, job.crashes) == (State.SUCCEEDED, 1)


def test_a_cluster_that_is_away_is_waited_for(start_worker, broker):
    """All of its nodes, for a while."""
    cluster = servers.redis_cluster()
    result = tasks.note_and_hang.enqueue("a", 1)
    worker = start_worker()
    wait_until(Note.objects.exists)
    for node in cluster.nodes:
        node.kill()
    worker.wait_for_line("The store cannot be used", count=2)
    for node in cluster.nodes:
        node.start()
    worker.wait_for_line("The store can be used again")

    def has_ended():
        with suppress(BrokerUnavailable):  # its nodes do not come back at the same moment
            return broker.get(result.id).state in ENDS

    wait_until(has_ended, timeout=60)
    job = broker.get(result.id)
    assert (job.state, job.attempts, job.crashes) == (State.SUCCEEDED, 1, 0)
    assert tasks.add.enqueue(1, 2).get(timeout=30) == 3
    assert worker.output.count("is ready") == 1
