"""Jobs enqueued in another database's transaction: they run if and only if it commits, whatever dies in between."""

import threading
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connections, transaction
from django.test import override_settings

import mainspring
from mainspring import outbox
from mainspring.backends import broker_for
from mainspring.compat import TaskResultDoesNotExist, TaskResultStatus, task_backends
from mainspring.exceptions import BrokerUnavailable
from mainspring.outbox_table import OutboxTable
from mainspring.testing import drain, travel
from tests.app import tasks
from tests.stores import only_databases

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])

MEMORY = {"default": {"BACKEND": "mainspring.backends.MemoryBackend"}}


@pytest.fixture(autouse=True)
def _look_everywhere():
    outbox._left_alone.clear()


@pytest.fixture
def broker():
    return broker_for("default")


def waiting(alias="other"):
    """How many rows the outbox of a database holds."""
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM mainspring_outbox")
        return cursor.fetchone()[0]


def lose_the_hooks(alias="other"):
    """Do as the death of a process right after the commit does."""
    connections[alias].run_on_commit.clear()


def enqueue_and_die(count=1):
    """Leave committed rows in the outbox of `other`."""
    with transaction.atomic(using="other"):
        results = [tasks.add.enqueue(number, 1) for number in range(count)]
        lose_the_hooks()
    return results


def test_a_commit_sends(broker):
    """Before it the job is in the outbox alone, after it in the store alone."""
    with transaction.atomic(using="other"):
        result = tasks.add.enqueue(1, 2)
        assert (waiting(), broker.get(result.id)) == (1, None)
        result.refresh()
        assert result.status == TaskResultStatus.READY

    assert (waiting(), broker.get(result.id).state) == (0, "ready")
    assert drain() == 1
    assert result.get(timeout=0) == 3


def test_a_rollback_sends_nothing(broker):
    """Neither the job nor a row is left."""
    with transaction.atomic(using="other"):
        result = tasks.add.enqueue(1, 2)
        transaction.set_rollback(True, using="other")

    assert (waiting(), broker.get(result.id)) == (0, None)
    with pytest.raises(TaskResultDoesNotExist):
        result.refresh()


def test_the_rollback_of_a_savepoint_takes_only_its_own(broker):
    """What the outer block enqueued is sent."""
    with transaction.atomic(using="other"):
        kept = tasks.noop.enqueue()
        with pytest.raises(KeyError), transaction.atomic(using="other"):
            lost = tasks.noop.enqueue()
            raise KeyError

    assert (waiting(), broker.get(lost.id)) == (0, None)
    assert broker.get(kept.id) is not None


@only_databases
def test_in_its_own_transaction_the_job_is_simply_stored(broker):
    """However many other transactions are open."""
    with transaction.atomic(), transaction.atomic(using="other"):
        result = tasks.noop.enqueue()
        assert (waiting(), broker.get(result.id).state) == (0, "ready")


def test_many_jobs_go_the_same_way(broker):
    """In one statement each way."""
    with transaction.atomic(using="other"):
        results = mainspring.enqueue_many(tasks.add, [(number, 1) for number in range(10)])
        assert waiting() == 10

    assert waiting() == 0
    assert all(broker.get(result.id) for result in results)


def test_a_death_after_the_commit_loses_nothing(broker):
    """The sweep of any worker sends it, once."""
    results = enqueue_and_die(3)
    assert waiting() == 3
    assert outbox.sweep(broker) == 0, "it may still be being sent"
    with travel(10):
        assert outbox.sweep(broker) == 3
        assert outbox.sweep(broker) == 0

    assert waiting() == 0
    assert drain() == 3
    assert [result.get(timeout=0) for result in results] == [1, 2, 3]


def test_an_earlier_hook_that_raises_loses_nothing(broker):
    """Django then calls no later hook."""

    def fail():
        raise KeyError

    with pytest.raises(KeyError), transaction.atomic(using="other"):
        transaction.on_commit(fail, using="other")
        result = tasks.noop.enqueue()

    assert (waiting(), broker.get(result.id)) == (1, None)
    with travel(10):
        assert outbox.sweep(broker) == 1
    assert broker.get(result.id) is not None


def test_a_sweep_before_the_hook_sends_once(broker):
    """A transaction may take longer than the sweep waits."""
    with transaction.atomic(using="other"):
        tasks.noop.enqueue()
        [(_, hook, *_)] = connections["other"].run_on_commit
        lose_the_hooks()
    with travel(10):
        assert outbox.sweep(broker) == 1
    assert drain() == 1
    hook()

    assert drain() == 0


def test_a_store_that_is_away_gets_the_job_later(broker, monkeypatch, caplog):
    """The commit has happened, so its caller is not troubled; the row stays, and goes with the next sweep."""

    def away(*args, **kwargs):
        raise BrokerUnavailable("gone fishing")

    with monkeypatch.context() as patch, transaction.atomic(using="other"):
        result = tasks.noop.enqueue()
        patch.setattr(type(broker), "push", away)
        transaction.get_connection("other")
        connections["other"].run_on_commit[0][1]()
        with travel(10):
            assert outbox.sweep(broker) == 0

    assert "stay in the outbox of DATABASES['other'] for now: gone fishing" in caplog.text
    assert waiting() == 1
    with travel(10):
        assert outbox.sweep(broker) == 1
    assert broker.get(result.id) is not None


def test_a_row_that_cannot_be_sent_holds_up_nobody(broker, caplog):
    """It is said, put last, and tried again in a minute."""
    results = enqueue_and_die(5)
    with connections["other"].cursor() as cursor:
        cursor.execute("UPDATE mainspring_outbox SET job = '{' WHERE id = %s", [results[2].id])
    with travel(10):
        assert outbox.sweep(broker) == 4
        assert f"Job {results[2].id} in the outbox for 'default' cannot be sent" in caplog.text
        assert outbox.sweep(broker) == 0
    assert waiting() == 1
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "text", ["", "{", "null", "5", "[]", "{}", '{"id": "x"}', "[" * 100_000], ids=lambda text: text[:20]
)
def test_a_row_that_holds_no_job(broker, caplog, text):
    """Nobody finds a job in it, it is said, and the others are sent."""
    damaged, sound = enqueue_and_die(2)
    with connections["other"].cursor() as cursor:
        cursor.execute("UPDATE mainspring_outbox SET job = %s WHERE id = %s", [text, damaged.id])

    assert OutboxTable("other").get("default", damaged.id) is None
    assert OutboxTable("other").get("default", sound.id) is not None
    with travel(10):
        assert outbox.sweep(broker) == 1
    assert f"Job {damaged.id} in the outbox for 'default' cannot be sent" in caplog.text
    assert broker.get(sound.id) is not None


def test_two_sweeps_at_once_send_each_job_once(broker):
    """There is no leader among the workers."""
    enqueue_and_die(50)
    start = threading.Barrier(2)
    broker.clock.travel(10)

    def sweep():
        start.wait(10)
        outbox.sweep(broker)
        for connection in connections.all():
            connection.close()

    threads = [threading.Thread(target=sweep) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    outbox._left_alone.clear()
    outbox.sweep(broker)
    broker.clock.travel(-10)

    assert waiting() == 0
    assert len(broker.search(limit=100)) == 50


def test_a_database_without_an_outbox_is_left_alone(broker, monkeypatch):
    """It is asked once a minute whether it has one by now."""
    asked = []
    monkeypatch.setattr(OutboxTable, "exists", lambda self: asked.append(self.alias))
    outbox.sweep(broker)
    outbox.sweep(broker)

    assert asked == [name for name in ("default", "other") if name != broker.using]


def test_an_enqueue_where_there_is_no_outbox_names_the_way_out(monkeypatch):
    """Which database, which table, and the command."""
    monkeypatch.setattr("mainspring.outbox_table.OUTBOX", "mainspring_missing")
    with (
        pytest.raises(BrokerUnavailable, match=r"DATABASES\['other'\] needs an outbox .*migrate --database other"),
        transaction.atomic(using="other"),
    ):
        tasks.noop.enqueue()


def test_without_autocommit_the_sweep_sends(broker):
    """Django has no hook for a commit by hand."""
    transaction.set_autocommit(False, using="other")
    try:
        tasks.noop.enqueue()
        transaction.commit(using="other")
    finally:
        transaction.set_autocommit(True, using="other")
    assert waiting() == 1
    with travel(10):
        assert outbox.sweep(broker) == 1


def test_on_commit_needs_no_outbox():
    """The option for those who accept what a crash can lose."""
    with override_settings(TASKS=with_option(on_commit=True)):
        with transaction.atomic(using="other"):
            result = tasks.add.enqueue(1, 2)
            assert waiting() == 0
            assert tasks.add.get_result(result.id).status == TaskResultStatus.READY
            with pytest.raises(mainspring.NotSentYet, match="after the transaction"):
                result.get(timeout=1)
        assert drain() == 1
        assert result.get(timeout=0) == 3


def test_without_waiting_for_the_commit_a_rollback_takes_nothing_back():
    """The option for those who want the job at once: one, many and a deferred one."""
    with override_settings(TASKS=with_option(on_commit=False)):
        with transaction.atomic(using="other"):
            results = [tasks.add.enqueue(1, 2), *mainspring.enqueue_many(tasks.add, [(3, 4)])]
            later = tasks.add.using(run_after=timedelta(hours=1)).enqueue(5, 6)
            assert waiting() == 0
            transaction.set_rollback(True, using="other")

        assert drain() == 2
        assert [result.get(timeout=0) for result in results] == [3, 7]
        later.refresh()
        assert later.status == TaskResultStatus.READY


def with_option(**options):
    """TASKS with another option for the store under test."""
    default = settings.TASKS["default"]
    return {"default": default | {"OPTIONS": default["OPTIONS"] | options}}


def test_a_job_on_its_way_can_be_looked_up():
    """Committed, but not yet swept."""
    settings = {"default": {"BACKEND": "mainspring.backends.DatabaseBackend", "OPTIONS": {"database": "other"}}}
    with override_settings(TASKS=settings):
        with transaction.atomic():
            result = tasks.add.enqueue(1, 2)
            lose_the_hooks("default")
        assert tasks.add.get_result(result.id).status == TaskResultStatus.READY
        with pytest.raises(mainspring.ResultTimeout):
            result.get(timeout=0)
        with travel(10):
            outbox.sweep(broker_for("default"))
        assert drain() == 1
        assert result.get(timeout=0) == 3


@override_settings(TASKS=MEMORY)
def test_memory_gets_its_jobs_at_the_commit():
    """It is no database, so it must not keep what was rolled back."""
    backend = task_backends["default"]
    with transaction.atomic():
        result = tasks.add.enqueue(1, 2)
        assert backend.broker.get(result.id) is None
        assert backend.results == [result]

    assert backend.broker.get(result.id) is not None
    backend.clear()
    assert backend.results == []


@pytest.mark.django_db(transaction=False, databases=["default", "other"])
def test_drain_sends_what_waits_for_the_commit_of_a_test(broker):
    """In a TestCase nothing is ever committed."""
    result = tasks.add.enqueue(1, 2)
    with transaction.atomic(using="other"):
        other = tasks.add.enqueue(3, 4)
        assert drain() == 2
    assert (result.get(timeout=0), other.get(timeout=0)) == (3, 7)
