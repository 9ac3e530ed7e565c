"""Looking jobs up and waiting for them, on every backend."""

import copy
import pickle
import threading
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings as django_settings
from django.db import connection, transaction
from django.test import override_settings

import mainspring
from mainspring import job as machine
from mainspring.compat import TaskResultDoesNotExist, TaskResultMismatch, TaskResultStatus, task_backends
from mainspring.job import State
from mainspring.results import JobError
from mainspring.testing import travel
from tests.app import odd, tasks

WORKER = "worker-1"


@pytest.mark.parametrize(
    "id",
    ["", "123", "x" * 1000, "a\x00b", "\ud800", "é", "'; DROP", "%s", "\n", None, 123, 1.5, b"123", [], {}, object()],
    ids=lambda id: f"{type(id).__name__} {id!r:.20}".partition(" at 0x")[0],
)
def test_an_id_of_any_shape_is_answered(backend, id):
    """Whatever comes out of a URL, the answer is that there is no such result."""
    with pytest.raises(TaskResultDoesNotExist):
        backend.get_result(id)
    with pytest.raises(TaskResultDoesNotExist):
        async_to_sync(backend.aget_result)(id)


def test_the_result_of_another_task_is_refused(on):
    """As in Django."""
    result = on(tasks.noop).enqueue()
    with pytest.raises(TaskResultMismatch, match=r"tests\.app\.tasks\.noop"):
        on(tasks.add).get_result(result.id)


@pytest.mark.parametrize(
    "path",
    [
        "tests.app.tasks.gone",
        "tests.app.gone.task",
        "gone.tasks.task",
        "tests.app.tasks.Note",
        "tests.app.tasks.os.kill",
        "os.kill",
        "nodots",
        "",
    ],
)
def test_a_job_whose_function_is_gone_can_be_read(backend, broker, path):
    """Its task shows the path, never validates, and cannot be called."""
    job = machine.new_job(task_path=path, arguments='{"args":[1],"kwargs":{}}', queue_name="q", priority=3, at=1)
    broker.push([job])
    result = backend.get_result(job.id)

    assert result.task.module_path.endswith(path)
    assert (result.task.priority, result.task.queue_name, result.args) == (3, "q", [1])
    assert result == backend.get_result(job.id)
    assert path in repr(result)
    with pytest.raises(mainspring.UnknownTask):
        result.task.call()


def test_a_job_whose_queue_is_gone_can_be_read(on, alias, backend):
    """A stored task is not validated again."""
    result = on(tasks.mail).enqueue("a@example.org")
    job = backend.broker.get(result.id)
    with override_settings(TASKS={alias: django_settings.TASKS[alias] | {"QUEUES": ["other"]}}):
        if not backend.broker.get(result.id):
            backend.broker.push([job])  # memory is emptied with the settings
        assert task_backends[alias].get_result(result.id).task.queue_name == "mail"


def test_a_damaged_row_can_be_read(backend, broker):
    """Only what is damaged cannot."""
    broker.push(
        [
            machine.new_job(
                task_path="tests.app.tasks.add", arguments="{", queue_name="default", priority=0, at=1, id="a"
            )._replace(errors='{"no": "list"}', worker_ids="[1, null]")
        ]
    )
    result = backend.get_result("a")

    assert result.task.name == "add"
    assert (result.errors, result.worker_ids, result.status) == ([], ["1", "None"], TaskResultStatus.READY)
    with pytest.raises(mainspring.InvalidArguments, match="damaged"):
        result.args  # noqa: B018


def test_a_running_job(on, broker):
    """The attempt that runs counts, and so does its worker, as in Django."""
    result = on(tasks.noop).enqueue()
    broker.claim(WORKER, None, 1)
    result.refresh()

    assert result.status == TaskResultStatus.RUNNING
    assert (result.attempts, result.worker_ids) == (1, [WORKER])
    assert result.started_at == result.last_attempted_at is not None
    assert result.finished_at is None


def test_refresh_is_complete(on, broker, run):
    """Everything that a run changes, by any of its ways."""
    result = on(odd.fail_with).enqueue("no")
    run()
    result.refresh()
    assert (result.status, result.state, result.attempts) == (TaskResultStatus.READY, "deferred", 1)
    assert result.worker_ids == ["inline"]
    [error] = result.errors
    assert isinstance(error, JobError)
    assert error.exception_class is ValueError
    assert error.traceback.endswith("ValueError: no\n")
    assert (error.attempt, error.worker_id) == (1, "inline")
    assert result.started_at <= error.started_at <= error.finished_at

    broker.cancel([result.id])
    async_to_sync(result.arefresh)()
    assert (result.status, result.state) == (TaskResultStatus.FAILED, "cancelled")
    assert result.is_finished
    assert result.finished_at is not None
    assert result.errors[-1].exception_class is mainspring.exceptions.Cancelled


def test_crashes_and_interruptions_are_counted(on, broker):
    """They are no attempts."""
    result = on(tasks.noop).enqueue()
    for was_killed in (False, True):
        broker.claim(WORKER, None, 1, alone=was_killed)  # the second time it has crashed before
        broker.rescue([WORKER], max_crashes=3, was_killed=was_killed)
    result.refresh()

    assert (result.crashes, result.interruptions, result.attempts) == (1, 1, 0)
    assert result.errors[0].exception_class is mainspring.exceptions.WorkerCrashed


def test_the_task_sees_its_own_result(on, run):
    """What Django's TaskContext promises."""
    result = on(odd.attempts_seen).enqueue("word")
    run()

    assert result.get(timeout=0) == ["word", 1, result.id, ["inline"]]


def test_the_return_value_only_of_success(on, run):
    """As in Django."""
    good, bad = on(tasks.add).enqueue(1, 2), on(tasks.fail).enqueue("no")
    with pytest.raises(ValueError, match="not finished"):
        good.return_value  # noqa: B018
    run()
    good.refresh()
    bad.refresh()

    assert good.return_value == 3
    with pytest.raises(ValueError, match="Task failed"):
        bad.return_value  # noqa: B018


def test_a_result_survives_copying_and_pickling(on):
    """Into a cache, a session, another process."""
    result = on(tasks.add).enqueue(1, b=2)
    for other in (copy.copy(result), copy.deepcopy(result), pickle.loads(pickle.dumps(result))):
        assert other == result
        assert other is not result
        assert other.attempts == 0


def test_a_pruned_job_is_gone(on, broker, run):
    """Until then it can be read."""
    result = on(tasks.noop).enqueue()
    run()
    broker.prune([State.SUCCEEDED], 2**60, 10)

    with pytest.raises(TaskResultDoesNotExist):
        result.refresh()
    with pytest.raises(TaskResultDoesNotExist):
        result.get(timeout=0)


# Waiting.


def test_get_returns_the_value_when_it_comes(on, broker, run):
    """From another thread, where a worker would be."""
    result = on(tasks.add).enqueue(1, 2)
    worker = threading.Thread(target=_run_and_close, args=(run,))
    worker.start()
    try:
        assert result.get(timeout=20) == 3
    finally:
        worker.join()
    assert result.status == TaskResultStatus.SUCCESSFUL


def test_aget_returns_the_value_when_it_comes(on, run):
    """The same for async code."""
    result = on(tasks.add).enqueue(1, 2)
    worker = threading.Thread(target=_run_and_close, args=(run,))
    worker.start()
    try:
        assert async_to_sync(result.aget)(timeout=20) == 3
    finally:
        worker.join()


def _run_and_close(run):
    try:
        run()
    finally:
        connection.close()


@pytest.mark.parametrize("timeout", [0, 0.01, timedelta(milliseconds=10)])
def test_get_gives_up_in_time(on, timeout):
    """The error says what the job is doing."""
    result = on(tasks.noop).enqueue()
    for get in (result.get, async_to_sync(result.aget)):
        with pytest.raises(mainspring.ResultTimeout, match=f"{result.id} .*tests.app.tasks.noop.* is still ready"):
            get(timeout=timeout)
    with pytest.raises(TimeoutError):
        result.get(timeout=timeout)


def test_a_wait_for_what_nobody_begins_says_what_is_lacking(on, alias):
    """The usual reason is that no worker runs; in the memory of this process none ever will."""
    hint = {"default": "Is there a worker with room for queue 'mail'?", "memory": r"drain\(\) runs them"}[alias]
    with pytest.raises(mainspring.ResultTimeout, match=hint):
        on(tasks.mail).enqueue("a@example.org").get(timeout=0)


def test_a_wait_for_a_deferred_job_lacks_nothing(on):
    """It is not due yet."""
    with pytest.raises(mainspring.ResultTimeout, match=r"is still deferred after 0 s\.$"):
        on(tasks.noop, run_after=timedelta(hours=1)).enqueue().get(timeout=0)


def test_get_of_a_failed_job_says_why(on, run):
    """The class and the end of the traceback stand in the message."""
    result = on(tasks.fail).enqueue("no luck")
    run()
    for get in (result.get, async_to_sync(result.aget)):
        with pytest.raises(mainspring.JobFailed) as caught:
            get(timeout=0)
        assert "ended as failed: builtins.ValueError" in str(caught.value)
        assert str(caught.value).endswith("ValueError: no luck\n")


def test_get_of_a_cancelled_job_says_so(on, broker):
    """An end without a run is told apart."""
    result = on(tasks.noop).enqueue()
    broker.cancel([result.id])

    with pytest.raises(mainspring.JobFailed, match=r"ended as cancelled: mainspring\.exceptions\.Cancelled"):
        result.get()


def test_get_inside_the_enqueueing_transaction(on):
    """It would wait for ever, for nobody can run the job before the commit."""
    with transaction.atomic():
        result = on(tasks.noop).enqueue()
        with pytest.raises(mainspring.NotSentYet):
            result.get(timeout=1)


def test_get_waits_for_a_deferred_job(on, run, alias):
    """A deferred job is no end."""
    result = on(tasks.add, run_after=timedelta(hours=1)).enqueue(1, 2)
    with pytest.raises(mainspring.ResultTimeout, match="still deferred"):
        result.get(timeout=0)
    with travel(timedelta(hours=2), alias):
        run()
    assert result.get(timeout=0) == 3
