"""Rows that hold what nobody can use: each is named or left alone, and every other job runs."""

import pytest
from django.conf import settings
from django.db import connection

import mainspring
from mainspring import job as machine
from mainspring.brokers.base import WorkerInfo
from mainspring.compat import TaskResultStatus
from tests.app import tasks
from tests.stores import only_databases

ARGUMENTS = ["", "{", "null", "[]", '{"args":{},"kwargs":{}}', '{"args":[1],"kwargs":[]}', '{"args":' + "[" * 100_000]


@pytest.fixture
def neighbours(on, run):
    """Jobs before and behind the bad one; they have run when the test is over."""
    results = [on(tasks.add, priority=priority).enqueue(1, 2) for priority in (90, 0, -90)]
    yield
    assert [result.get(timeout=0) for result in results] == [3, 3, 3]


@pytest.fixture
def push(broker):
    """Store a job of tests.app.tasks.add with these columns, and return its id."""

    def push(**columns):
        job = machine.new_job(
            task_path="tests.app.tasks.add",
            arguments='{"args":[1,2],"kwargs":{}}',
            queue_name="default",
            priority=0,
            at=broker.clock.moment(),
        )
        broker.push([job._replace(**columns)])
        return job.id

    return push


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=lambda text: text[:30])
def test_arguments_that_are_none(push, neighbours, backend, run, arguments):
    """The job fails, and its error says what is damaged."""
    result = backend.get_result(push(arguments=arguments))
    run()
    result.refresh()

    assert result.status == TaskResultStatus.FAILED
    [error] = result.errors
    assert error.exception_class is mainspring.InvalidArguments
    assert "The stored arguments are damaged" in error.traceback


def test_arguments_that_the_task_no_longer_takes(push, neighbours, backend, run):
    """A deploy may have changed the function; the call fails as any other."""
    result = backend.get_result(push(arguments='{"args":[1],"kwargs":{"c":2}}'))
    run()
    result.refresh()

    assert result.errors[0].exception_class is TypeError


def test_a_result_that_is_none(push, broker, backend):
    """What can be read is shown; the value is named when it is asked for."""
    push()
    [job] = broker.claim("w", None, 1)
    broker.settle([machine.succeed(job, "{", 1, 2)])

    result = backend.get_result(job.id)
    assert result.status == TaskResultStatus.SUCCESSFUL
    with pytest.raises(ValueError, match="The stored return value is damaged"):
        result.get(timeout=0)


@pytest.mark.parametrize(
    "columns",
    [
        {"priority": 10**6},
        {"priority": -(10**6)},
        {"enqueued_at": 2**62},
        {"run_after": -(2**62)},
        {"due_at": 5},
        {"attempts": -5},
        {"max_crashes": -1},
        {"started_at": 2**62},
    ],
    ids=repr,
)
def test_numbers_that_no_job_has(push, neighbours, backend, run, columns):
    """They may look odd; the job runs all the same."""
    result = backend.get_result(push(**columns))
    run()

    assert result.get(timeout=0) == 3


def test_a_time_that_is_none(push, backend):
    """It is named when it is asked for, and nothing else is in its way."""
    result = backend.get_result(push(enqueued_at=2**62))

    assert (result.status, result.args, result.errors) == (TaskResultStatus.READY, [1, 2], [])
    with pytest.raises(ValueError, match=f"The stored moment {2**62} is no date"):
        result.enqueued_at  # noqa: B018


@pytest.mark.parametrize(
    ("errors", "shown"),
    [
        ('{"no": "list"}', []),
        ("[1, null, []]", []),
        ("[{}]", [("", "", None)]),
        ('[{"traceback": 5, "started_at": "soon"}]', [("", "5", None)]),
        ('[{"exception_class_path": "a.B", "started_at": 1e300, "finished_at": []}]', [("a.B", "", None)]),
    ],
)
def test_a_history_of_wrong_types(push, neighbours, backend, run, errors, shown):
    """As much of it as can be read is shown, before and after the job has run."""
    result = backend.get_result(push(errors=errors, worker_ids="[{}]"))
    run()

    assert [(error.exception_class_path, error.traceback, error.started_at) for error in result.errors] == shown
    assert result.get(timeout=0) == 3


def test_a_state_that_nobody_knows(push, neighbours, backend, run):
    """A newer version may have written it; it is left alone."""
    result = backend.get_result(push(state="dreaming"))
    run()
    result.refresh()

    assert result.state == "dreaming"
    with pytest.raises(ValueError, match="'dreaming' is not a valid State"):
        result.status  # noqa: B018


@pytest.mark.skipif(settings.DATABASE != "sqlite", reason="other databases take no text for a number")
@pytest.mark.parametrize("alias", ["default"], indirect=True)
@pytest.mark.parametrize("column", ["priority", "attempts", "crashes", "max_crashes", "enqueued_at", "started_at"])
def test_a_text_in_a_column_of_numbers(push, neighbours, backend, run, column):
    """SQLite takes it; it reads as 0."""
    id = push()
    write(id, column, "many")
    run()

    assert backend.get_result(id).get(timeout=0) == 3


@only_databases
@pytest.mark.skipif(settings.DATABASE != "sqlite", reason="other databases take no text for a number")
@pytest.mark.parametrize("alias", ["default"], indirect=True)
@pytest.mark.parametrize(("column", "state"), [("rank", "ready"), ("due_at", "deferred")])
def test_a_text_for_a_place_in_line(push, neighbours, backend, broker, run, column, state):
    """The job is never reached, and nobody waits for it in a loop."""
    id = push(state=state)
    write(id, column, "soon")
    run()

    assert backend.get_result(id).state == state
    assert broker.promote(10) is None


def write(id, column, value):
    with connection.cursor() as cursor:
        cursor.execute(f'UPDATE mainspring_job SET "{column}" = %s WHERE id = %s', [value, id])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("facts", ["", "{", "[]", "null", "[" * 100_000], ids=lambda text: text[:10])
@pytest.mark.parametrize("alias", ["default"], indirect=True)
def test_facts_of_a_worker_that_are_none(broker, facts):
    """All workers read them with each beat; the others beat on."""
    broker.beat([WorkerInfo("damaged"), WorkerInfo("sound", facts={"pid": 1})])
    with connection.cursor() as cursor:
        cursor.execute("UPDATE mainspring_worker SET facts = %s WHERE id = 'damaged'", [facts])

    assert {worker.id: worker.facts for worker in broker.workers()} == {"damaged": {}, "sound": {"pid": 1}}
    broker.beat([WorkerInfo("sound")])
    broker.leave(["damaged", "sound"])
