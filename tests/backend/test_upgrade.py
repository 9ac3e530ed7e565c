"""What an upgrade of the tables finds: jobs that run while it happens must not be forgotten."""

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection

from mainspring.backends import make_broker
from mainspring.job import Job, State, new_job
from tests.contract import jobs

pytestmark = pytest.mark.skipif(settings.STORE == "redis", reason="Redis has no tables")

LATER = ("unique_key", "holds_key", "limits", "parked_under", "place", "order_key", "blocks", "fair_key")
AT_FIRST = [name for name in Job._fields if name not in LATER]


@pytest.fixture
def _at_first(transactional_db):
    """The tables as the first migration made them."""
    call_command("migrate", "mainspring", "0001", verbosity=0)
    yield
    call_command("migrate", "mainspring", verbosity=0)


@pytest.mark.usefixtures("_at_first")
def test_jobs_that_run_are_found_when_their_worker_dies():
    """Nobody had noted how far their worker had claimed."""
    broker = make_broker("default", "default")
    facts = {"task_path": "app.tasks.add", "arguments": "", "queue_name": "default", "at": broker.clock.moment()}
    running, urgent, ready = (new_job(priority=priority, **facts) for priority in (0, 7, 0))
    with connection.cursor() as cursor:
        names = ", ".join(connection.ops.quote_name(name) for name in AT_FIRST)
        cursor.executemany(
            f"INSERT INTO mainspring_job ({names}) VALUES ({', '.join(['%s'] * len(AT_FIRST))})",
            [[getattr(job, name) for name in AT_FIRST] for job in (running, urgent, ready)],
        )
        cursor.execute(
            "UPDATE mainspring_job SET state = 'running', token = 5, worker_id = 'w1' WHERE id IN (%s, %s)",
            [running.id, urgent.id],
        )

    call_command("migrate", "mainspring", verbosity=0)

    assert jobs.ids(broker.held_by(["w1"], 9)) == {running.id, urgent.id}
    assert broker.strangers() == {"w1"}
    assert {job.state for job in broker.rescue(["w1"], max_crashes=3, started=[])} == {State.READY}
