"""`mainspring.testing`, on every backend, inside a TestCase's transaction and without one."""

from datetime import timedelta
from unittest import mock

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import transaction
from django.test import override_settings

import mainspring
from mainspring import testing
from mainspring.backends import broker_for
from mainspring.compat import InvalidTaskBackend, TaskResultDoesNotExist, task_backends
from mainspring.exceptions import ResultTimeout
from mainspring.testing import assert_enqueued, drain, enqueued_jobs, travel
from tests.app import odd, tasks
from tests.app.models import Note
from tests.stores import only_databases

HOUR = timedelta(hours=1)


IN_A_TRANSACTION = pytest.param("TestCase", marks=pytest.mark.django_db)
WITH_COMMITS = pytest.param("TransactionTestCase", marks=pytest.mark.django_db(transaction=True))


@pytest.fixture(params=[IN_A_TRANSACTION, WITH_COMMITS])
def case(request):
    """The class of Django's that pytest-django makes of the test."""
    return request.param


@pytest.fixture(params=["memory", "default"])
def alias(request, case):
    yield request.param
    task_backends["memory"].clear()


@pytest.fixture(autouse=True)
def clocks_stand_right():
    """Nobody's journey goes on in the next test."""
    yield
    for alias in ("memory", "default"):
        assert broker_for(alias).clock._travelled == 0


# Draining.


def test_drain_runs_what_is_ready(on, alias):
    """Sync and async tasks in their order; the results are there afterwards."""
    results = [on(tasks.add).enqueue(1, 2), on(tasks.async_echo).enqueue("x"), on(tasks.mail).enqueue("first")]

    assert drain(alias) == 3
    assert [result.get(timeout=0) for result in results] == [3, "x", "first"]
    assert results[2].started_at < results[0].started_at < results[1].started_at
    assert drain(alias) == 0


def test_drain_from_async_code(on, alias):
    """Through sync_to_async, as everything that uses the database."""

    async def enqueue_and_drain():
        result = await on(tasks.async_echo).aenqueue("x")
        assert await sync_to_async(drain)(alias) == 1
        return await result.aget(timeout=0)

    assert async_to_sync(enqueue_and_drain)() == "x"


@pytest.mark.parametrize("task", [tasks.echo, tasks.async_echo])
def test_what_a_job_has_set_ends_with_it(on, alias, task):
    """The test is not taken for the job, after a coroutine either."""
    on(task).enqueue("x")
    drain(alias)

    with pytest.raises(mainspring.NotInJob):
        mainspring.current_job()


def test_drain_sends_what_waits_for_a_commit(on, alias):
    """As if the transaction had been committed; its commit then sends nothing again."""
    with transaction.atomic():
        result = on(tasks.add).enqueue(1, 2)
        assert drain(alias) == 1
        assert result.get(timeout=0) == 3

    assert drain(alias) == 0


def test_drain_leaves_what_was_rolled_back(on, alias):
    """Such a job does not exist, inside a TestCase as elsewhere."""
    with pytest.raises(KeyError), transaction.atomic():
        result = on(tasks.noop).enqueue()
        raise KeyError

    assert drain(alias) == 0
    with pytest.raises(TaskResultDoesNotExist):
        result.refresh()


@only_databases
def test_a_rollback_takes_what_was_drained(case):
    """What jobs and the queue have written goes with the transaction around them."""
    with transaction.atomic():
        result = tasks.note.enqueue("gone")
        assert drain() == 1
        transaction.set_rollback(True)

    assert not Note.objects.exists()
    with pytest.raises(TaskResultDoesNotExist):
        result.refresh()


def test_drain_raises_what_a_job_has_raised(on, alias):
    """The exception itself, once the failure is stored; what comes after it can still be drained."""
    failed, later = on(tasks.fail).enqueue("no luck"), on(tasks.add).enqueue(1, 2)

    with pytest.raises(ValueError, match=r"^no luck$"):
        drain(alias)
    failed.refresh()
    later.refresh()
    assert (failed.state, later.state) == ("failed", "ready")
    assert drain(alias) == 1


def test_drain_can_leave_failures_in_the_results(on, alias):
    """For tests of what comes after a failure."""
    failed, later = on(tasks.async_fail).enqueue("no luck"), on(tasks.add).enqueue(1, 2)

    assert drain(alias, raise_errors=False) == 2
    assert later.get(timeout=0) == 3
    with pytest.raises(mainspring.JobFailed, match="no luck"):
        failed.get(timeout=0)


def test_drain_does_not_swallow_ctrl_c(on, alias):
    """It is meant for the tests, not for the job."""
    on(odd.interrupt).enqueue()

    with pytest.raises(KeyboardInterrupt):
        drain(alias, raise_errors=False)


def test_a_job_that_is_tried_again_has_not_failed(on, alias):
    """Until its last attempt."""
    result = on(odd.fail_with).enqueue("no")
    for attempts in (1, 2):
        assert drain(alias) == 1
        result.refresh()
        assert (result.state, result.attempts) == ("deferred", attempts)
        travel(HOUR, alias)

    with pytest.raises(ValueError, match="no"):
        drain(alias)
    travel(-2 * HOUR, alias)


@pytest.mark.parametrize("task", [odd.break_the_transaction, tasks.note_then_fail])
def test_a_job_that_fails_in_the_database_harms_no_other(on, alias, task):
    """Inside a TestCase as well, whose transaction an error would end on PostgreSQL."""
    failed = on(task).enqueue(*(["text"] if task is tasks.note_then_fail else []))
    other = on(tasks.note).enqueue("other")

    assert drain(alias, raise_errors=False) == 2
    failed.refresh()
    assert failed.state == "failed"
    assert Note.objects.get(pk=other.get(timeout=0)).text == "other"


def test_drain_runs_what_jobs_enqueue(on, alias):
    """However deep."""
    on(odd.enqueue_more).enqueue(alias, 5)

    assert drain(alias) == 6


def test_drain_refuses_a_chain_without_end(on, alias, monkeypatch):
    """A test that never ends would say nothing."""
    monkeypatch.setattr(testing, "MOST", 5)
    on(odd.enqueue_more).enqueue(alias, 4)
    assert drain(alias) == 5

    on(odd.enqueue_more).enqueue(alias, None)
    with pytest.raises(RuntimeError, match="ran 5 jobs and there are still more"):
        drain(alias)


def test_drain_leaves_unknown_tasks_alone(on, alias, broker, caplog):
    """As a worker does: it says so, and goes on with the others."""
    gone = mainspring.job.new_job(
        task_path="tests.app.tasks.gone", arguments="{}", queue_name="default", priority=5, at=broker.clock.moment()
    )
    broker.push([gone])
    on(tasks.noop).enqueue()

    assert drain(alias) == 1
    assert "Jobs of tests.app.tasks.gone wait" in caplog.text
    assert [result.id for result in enqueued_jobs(alias)] == [gone.id]


def test_backends_that_share_a_database_are_drained_apart(case, settings):
    """Each runs and shows the queues of its own, as their workers do."""
    mine, other = {"QUEUES": ["default"]}, {"QUEUES": ["reports"]}
    settings.TASKS = {"default": settings.TASKS["default"] | mine, "reports": settings.TASKS["default"] | other}
    result = tasks.noop.using(backend="reports", queue_name="reports").enqueue()

    assert (enqueued_jobs(), drain()) == ([], 0)
    assert (enqueued_jobs("reports"), drain("reports")) == ([result], 1)


# Time.


def test_deferred_jobs_run_when_their_time_has_come(on, alias):
    """Not before."""
    on(tasks.noop, run_after=HOUR).enqueue()

    assert drain(alias) == 0
    with travel(HOUR, alias):
        assert drain(alias) == 1


@pytest.mark.parametrize("by", [3600, 3600.0, HOUR, "1h"], ids=repr)
def test_travel_takes_durations_as_everything_does(alias, broker, by):
    """Seconds, a timedelta or a text; until the end of the block."""
    before = broker.clock.moment()
    with travel(by, alias):
        assert 3600 <= (broker.clock.moment() - before) / 1_000_000 < 3660
    assert broker.clock.moment() - before < 60_000_000


def test_journeys_add_up(on, alias):
    """Inside one another too, whatever ends them."""
    on(tasks.noop, run_after=HOUR).enqueue()
    with travel("40m", alias):
        with pytest.raises(KeyError), travel("40m", alias):
            assert len(enqueued_jobs(alias)) == 1
            assert drain(alias) == 1
            on(tasks.noop, run_after=HOUR).enqueue()
            raise KeyError
        assert drain(alias) == 0


def test_without_a_block_a_journey_goes_on(on, alias):
    """And the way back is a journey too."""
    on(tasks.noop, run_after=HOUR).enqueue()
    travel(HOUR, alias)
    assert drain(alias) == 1
    travel(-HOUR, alias)


@pytest.mark.parametrize("by", ["soon", None, True, float("nan"), float("inf")], ids=repr)
def test_a_journey_of_no_duration(alias, by):
    """It is said before the clock is broken."""
    with pytest.raises(ValueError, match="expected seconds, a timedelta or a text"):
        travel(by, alias)


# Looking.


def test_enqueued_jobs_are_shown_oldest_first(on, alias):
    """Whatever their priority and time; those that have ended are not among them."""
    on(tasks.noop).enqueue()
    drain(alias)
    results = [on(tasks.slow).enqueue(1), on(tasks.noop, run_after=HOUR).enqueue(), on(tasks.mail).enqueue("x")]
    results += mainspring.enqueue_many(on(tasks.echo), [(number,) for number in range(5)])
    with transaction.atomic():
        results.append(on(tasks.noop).enqueue())
        assert enqueued_jobs(alias) == results
    assert enqueued_jobs(alias) == results


def test_assert_enqueued_returns_what_matches(on, alias):
    """By the task alone, by the arguments, by their number."""
    one, two = on(tasks.add).enqueue(1, 2), on(tasks.add).enqueue(1, b=3)
    on(tasks.noop).enqueue()

    assert assert_enqueued(on(tasks.add)) == [one, two]
    assert assert_enqueued(on(tasks.add), args=[1, 2]) == [one]
    assert assert_enqueued(on(tasks.add), args=(1,), kwargs={"b": 3}, count=1) == [two]
    assert assert_enqueued(tasks.noop, kwargs={}, backend=alias)
    assert assert_enqueued(on(tasks.mail), count=0) == []


def test_arguments_are_compared_as_they_are_stored(on, alias):
    """A tuple is a list then, and a key a text; mock.ANY stands for anything."""
    on(tasks.echo).enqueue({1: (2, 3)})

    for expected in ({1: (2, 3)}, {"1": [2, 3]}, mock.ANY, {"1": mock.ANY}):
        assert_enqueued(on(tasks.echo), args=[expected], count=1)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, "tests.app.tasks.mail was expected at least once, found 0 times."),
        (
            {"args": ("x",), "count": 2},
            "tests.app.tasks.mail args=['x'] was expected 2 times, found 0 times.",
        ),
    ],
)
def test_assert_enqueued_lists_what_there_is_instead(on, alias, asked, expected):
    """One line for each job."""
    with pytest.raises(AssertionError) as nothing:
        assert_enqueued(on(tasks.mail), **asked)
    assert str(nothing.value) == f"{expected} Enqueued:\n  nothing"

    on(tasks.add).enqueue(1, b=2)
    on(tasks.noop).enqueue()
    with pytest.raises(AssertionError) as others:
        assert_enqueued(on(tasks.mail), **asked)
    assert str(others.value) == (
        f"{expected} Enqueued:\n"
        "  tests.app.tasks.add args=[1] kwargs={'b': 2}\n"
        "  tests.app.tasks.noop args=[] kwargs={}"
    )


def test_too_many_are_no_match_either(on, alias):
    """The number that was found is named."""
    on(tasks.noop).enqueue()
    on(tasks.noop).enqueue()

    with pytest.raises(AssertionError, match="expected 1 times, found 2 times"):
        assert_enqueued(on(tasks.noop), count=1)


# Backends.


@pytest.mark.parametrize("look", [drain, enqueued_jobs, lambda alias: travel(1, alias)])
def test_another_backend_is_named(look):
    """Django's own run jobs at once, or never."""
    with pytest.raises(
        TypeError, match=r"TASKS\['immediate'\] uses django.*ImmediateBackend; mainspring.testing needs"
    ):
        look("immediate")
    with pytest.raises(InvalidTaskBackend):
        look("nonsense")


@override_settings(TASKS={"default": {"BACKEND": "mainspring.backends.MemoryBackend"}})
def test_without_a_database():
    """The backend in memory needs none; pytest-django would refuse it here."""
    result = tasks.add.enqueue(1, 2)
    with pytest.raises(ResultTimeout):
        result.get(timeout=0)

    assert drain() == 1
    assert result.get(timeout=0) == 3
