"""What an enqueue stores and returns, on every backend."""

from datetime import UTC, datetime, timedelta

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction
from django.test import TestCase, override_settings
from django.utils import timezone

import mainspring
from mainspring.compat import TaskResultDoesNotExist, TaskResultStatus
from mainspring.job import State
from mainspring.tasks import Task
from tests.app import odd, tasks


def test_a_result_shows_what_was_enqueued(on, alias):
    """Everything that Django's TaskResult promises of a job that nobody has run."""
    before = timezone.now()
    result = on(tasks.add).enqueue(1, b=2)

    assert result.status == TaskResultStatus.READY
    assert (result.args, result.kwargs) == ([1], {"b": 2})
    assert result.task == on(tasks.add)
    assert result.backend == alias
    assert before <= result.enqueued_at <= timezone.now()
    assert (result.started_at, result.finished_at, result.last_attempted_at) == (None, None, None)
    assert (result.errors, result.worker_ids, result.attempts) == ([], [], 0)
    assert (result.crashes, result.interruptions, result.state) == (0, 0, "ready")
    assert len(result.id) < 64
    assert not result.is_finished


def test_arguments_are_shown_as_the_task_will_get_them(on):
    """Tuples are lists and keys are texts before the first run already."""
    result = on(tasks.echo).enqueue({1: (2, 3), "b": b"bytes", "r": range(2)})

    assert result.args == [{"1": [2, 3], "b": "bytes", "r": [0, 1]}]
    assert on(tasks.echo).get_result(result.id).args == result.args


def test_a_found_result_equals_the_enqueued_one(on):
    """Found by the task, with priority, queue and time as they were."""
    task = on(tasks.mail, priority=-3, queue_name="slow", run_after=timezone.now() + timedelta(hours=1))
    result = task.enqueue("a@example.org")
    found = task.get_result(result.id)

    assert found == result
    assert found.task == task


def test_a_task_of_the_standard_decorator_is_stored(on, broker):
    """Nothing but the setting changes for a project."""
    result = on(tasks.mail).enqueue("a@example.org")
    job = broker.get(result.id)

    assert (job.task_path, job.queue_name, job.priority) == ("tests.app.tasks.mail", "mail", 10)


def test_a_task_made_for_another_backend_is_stored_too(on, run):
    """A task that was made by Django's own backend is a Task of Django, not of ours."""
    assert not isinstance(odd.plain, Task)
    result = on(odd.plain).enqueue(3)
    run()
    result.refresh()

    assert result.return_value == 3
    assert result.task == on(odd.plain)


@pytest.mark.parametrize("delay", [timedelta(hours=1), timedelta(days=400), timedelta(microseconds=1, seconds=1)])
def test_a_timedelta_counts_from_the_enqueue(on, broker, delay):
    """The task keeps the timedelta, the job and its result have the moment."""
    task = on(tasks.noop, run_after=delay)
    result = task.enqueue()
    job = broker.get(result.id)

    assert task.run_after == delay
    assert result.task.run_after - result.enqueued_at == delay
    assert (job.state, job.due_at) == (State.DEFERRED, job.enqueued_at + delay // timedelta(microseconds=1))
    assert result.status == TaskResultStatus.READY


def test_a_time_that_has_passed_means_now(on, broker):
    """Also as a negative timedelta."""
    for run_after in (timezone.now() - timedelta(days=1), timedelta(seconds=-1), timedelta(0)):
        result = on(tasks.noop, run_after=run_after).enqueue()
        assert broker.get(result.id).state == State.READY


def test_an_aware_time_in_any_zone_is_kept(on, broker):
    """Stored is the moment."""
    at = datetime(2040, 1, 1, 12, tzinfo=UTC)
    for zone in (UTC, timezone.get_fixed_timezone(-330)):
        result = on(tasks.noop, run_after=at.astimezone(zone)).enqueue()
        assert broker.get(result.id).due_at == int(at.timestamp()) * 1_000_000
        assert result.task.get_result(result.id).task.run_after == at


def test_without_time_zones_a_naive_time_is_local(on, broker):
    """As everywhere in Django with USE_TZ=False; stored is the moment all the same."""
    with override_settings(USE_TZ=False, TIME_ZONE="Asia/Kolkata"):
        result = on(tasks.noop, run_after=datetime(2040, 1, 1, 5, 30)).enqueue()
        assert on(tasks.noop).get_result(result.id) == result
        assert abs(timezone.now() - result.enqueued_at) < timedelta(minutes=1)
    assert broker.get(result.id).due_at == int(datetime(2040, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000


def test_a_job_of_a_rolled_back_transaction_does_not_exist(on, run):
    """On its own database and in memory alike."""
    with transaction.atomic():
        result = on(tasks.noop).enqueue()
        transaction.set_rollback(True)

    assert run() == 0
    with pytest.raises(TaskResultDoesNotExist):
        result.refresh()


def test_a_job_of_a_committed_transaction_runs(on, run):
    """Also when a savepoint inside it was rolled back."""
    with transaction.atomic():
        result = on(tasks.add).enqueue(1, 2)
        with pytest.raises(KeyError), transaction.atomic():
            on(tasks.noop).enqueue()
            raise KeyError

    assert run() == 1
    assert result.get(timeout=0) == 3


def test_hooks_that_are_run_inside_the_transaction_come_to_an_end(on, run):
    """As a TestCase runs them; what they have sent is not sent again."""
    with transaction.atomic():
        with TestCase.captureOnCommitCallbacks(execute=True) as hooks:
            result = on(tasks.add).enqueue(1, 2)
        assert len(hooks) == 1
        assert run() == 1

    assert run() == 0
    assert result.get(timeout=0) == 3


def test_a_handle_can_be_refreshed_inside_its_transaction(on):
    """Whether it has been sent or not, it is READY."""
    with transaction.atomic():
        result = on(tasks.noop).enqueue()
        result.refresh()
        assert result.status == TaskResultStatus.READY
        assert on(tasks.noop).get_result(result.id) == result


def test_max_crashes_of_the_task_is_stored_with_the_job(on, broker):
    """Whoever rescues it need not know the task."""
    assert broker.get(on(odd.once).enqueue().id).max_crashes == 0
    assert broker.get(on(tasks.noop).enqueue().id).max_crashes is None


def test_aenqueue_stores_the_same(on):
    """As enqueue, for async code."""
    task = on(tasks.async_echo)
    result = async_to_sync(task.aenqueue)("x")
    found = async_to_sync(task.aget_result)(result.id)

    assert found == result
    assert found.args == ["x"]


def test_many_calls_are_stored_in_one_push(on, run, broker, monkeypatch):
    """A call is a dict, a list, a tuple, or a tuple of a tuple and a dict; order is kept."""
    pushed = []
    push = type(broker).push
    monkeypatch.setattr(type(broker), "push", lambda self, jobs: (pushed.append(len(jobs)), push(self, jobs)))
    results = mainspring.enqueue_many(on(tasks.add), [(1, 2), [3, 4], {"a": 5, "b": 6}, ((7,), {"b": 8})])
    run()

    assert pushed == [4]
    assert [result.get(timeout=0) for result in results] == [3, 7, 11, 15]
    started = [result.started_at for result in results]
    assert started == sorted(started)


def test_many_calls_of_which_one_is_wrong_store_nothing(on, run):
    """All or none, and the error names the call's task and argument."""
    with pytest.raises(mainspring.InvalidArguments, match="argument 2"):
        mainspring.enqueue_many(on(tasks.add), [(1, 2), (3, {4})])
    with pytest.raises(mainspring.InvalidArguments, match=r"call 1 .*'ab'"):
        mainspring.enqueue_many(on(tasks.echo), ["ab"])

    assert mainspring.enqueue_many(on(tasks.add), []) == []
    assert run() == 0


def test_the_wrong_one_of_many_calls_is_named(on):
    """By its place among them; a single call needs none."""
    with pytest.raises(mainspring.InvalidArguments) as caught:
        mainspring.enqueue_many(on(tasks.add), [(1, 2), (3,)])
    assert caught.value.__notes__ == ["It is call 2 of 2; none of them has been enqueued."]

    with pytest.raises(mainspring.InvalidArguments) as caught:
        on(tasks.add).enqueue(3)
    assert not hasattr(caught.value, "__notes__")


def test_many_calls_go_to_any_backend(on):
    """In a project's tests the backend may be Django's own."""
    assert [result.return_value for result in mainspring.enqueue_many(odd.plain, [(1,), (2,)])] == [1, 2]


def test_a_decorator_between_task_and_function_may_give_arguments(on, run):
    """The call is checked against what is called, not against what that wraps."""
    result = on(odd.given).enqueue(2)
    run()

    assert result.get(timeout=0) == 3


def test_a_task_beside_its_function_is_found(on, run):
    """`double = task(_double)`: the path leads to the function, the task has another name."""
    result = on(odd.double).enqueue(4)
    run()

    assert result.get(timeout=0) == 8
    result.refresh()
    assert result.task == on(odd.double)
