"""explain: why a job does not run, for people and for scripts."""

from datetime import timedelta

import pytest
from django.conf import settings
from django.core.management.base import CommandError
from django.db import connections, transaction

from mainspring import outbox
from mainspring.commands import explain
from mainspring.exceptions import BrokerUnavailable
from tests.app import tasks

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])


def test_for_people(mainspring):
    result = tasks.add.enqueue(1, 2)
    (line,) = mainspring("explain", result.id).lines

    assert line == (
        f"Job {result.id} of tests.app.tasks.add is ready. No worker lives, so nobody runs it."
        " Start one: `manage.py mainspring worker --backend default`."
    )


def test_for_scripts(mainspring, beat):
    beat("w1", queues=["mail"])
    result = tasks.add.enqueue(1, 2)

    assert mainspring("explain", result.id, "--json").json == {
        "id": result.id,
        "state": "ready",
        "task": "tests.app.tasks.add",
        "queue": "default",
        "code": "queue_not_served",
        "text": str(result.explain()),
        "data": {"queue": "default", "served": ["mail"]},
    }


def test_every_key_is_documented(mainspring):
    shown = mainspring("explain", tasks.add.using(run_after=timedelta(hours=1)).enqueue(1, 2).id, "--json").json

    assert {key for key in shown if key not in explain.EXAMPLES} == set()


def test_an_ended_job(mainspring, ended, broker):
    ended()
    (job,) = broker.search()

    assert mainspring("explain", job.id).code == 0
    assert mainspring("explain", job.id).lines[0].startswith(f"Job {job.id} of tests.app.tasks.noop is succeeded. It")


@pytest.mark.parametrize("id", ["nonsense", "01a22f3d-5bbc-7e56-89ce-65e427f269ef"])
def test_there_is_no_such_job(mainspring, id):
    """It says so on standard error, and exits with 1."""
    with pytest.raises(CommandError, match=rf"TASKS\['default'\] has no job '{id}': it was never enqueued") as error:
        mainspring("explain", id, "--json")
    assert error.value.returncode == 1


@pytest.mark.parametrize("database", ["default", "other"])
def test_a_job_that_waits_for_its_way_to_the_store(mainspring, beat, database):
    """Its process has died after the commit. Every outbox is looked into."""
    if database == "default" and settings.STORE != "redis":
        pytest.skip("the jobs are in this database")
    outbox._left_alone.clear()
    with transaction.atomic(using=database):
        result = tasks.add.enqueue(1, 2)
        connections[database].run_on_commit.clear()
    shown = mainspring("explain", result.id, "--json").json

    assert (shown["code"], shown["state"]) == ("unsent", "ready")
    assert shown["data"] == {"database": database, "is_committed": True}
    assert "a worker would send it, but none lives" in shown["text"]
    beat("w1")
    assert "a worker sends it with its next sweep" in mainspring("explain", result.id).out


def test_one_backend(mainspring, two_backends):
    result = tasks.add.enqueue(1, 2)

    assert mainspring("explain", result.id, "--backend", "default").code == 0


def test_an_unknown_backend_is_named_with_the_nearest(mainspring):
    with pytest.raises(CommandError, match="TASKS has no Mainspring backend 'defualt'; did you mean 'default'"):
        mainspring("explain", "x", "--backend", "defualt")


def test_jobs_in_memory_cannot_be_seen_from_here(mainspring):
    with pytest.raises(CommandError, match=r"TASKS\['memory'\] keeps its jobs in the memory of the process"):
        mainspring("explain", "x", "--backend", "memory")


def test_a_store_that_is_away(mainspring, broker, monkeypatch):
    def refuse(id):
        raise BrokerUnavailable("connection refused")

    monkeypatch.setattr(broker, "get", refuse)
    with pytest.raises(CommandError, match="connection refused"):
        mainspring("explain", "x")
