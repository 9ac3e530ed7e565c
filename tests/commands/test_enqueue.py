"""enqueue: a call of a task from the command line."""

from datetime import UTC, datetime, timedelta

import pytest
from django.core.management.base import CommandError

from mainspring.commands import enqueue
from mainspring.compat import task_backends

ECHO = "tests.app.tasks.echo"


@pytest.fixture
def enqueued(mainspring):
    """Run the verb and return the result of the job whose id it printed."""
    return lambda *words: task_backends["default"].get_result(mainspring("enqueue", *words).out.strip())


def test_it_prints_the_id_and_nothing_else(enqueued):
    result = enqueued("tests.app.tasks.noop")

    assert (result.task.module_path, result.args, result.kwargs) == ("tests.app.tasks.noop", [], {})


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("3", 3),
        ("-3", -3),
        ("2.5", 2.5),
        ("true", True),
        ("null", None),
        ('"3"', "3"),
        ("[1, [2]]", [1, [2]]),
        ('{"a": 1}', {"a": 1}),
        ("Ann", "Ann"),
        ("007", "007"),
        ("True", "True"),
        ("", ""),
        ("{a}", "{a}"),
        ("NaN", "NaN"),
        ("grüße", "grüße"),
        ("9" * 5000, "9" * 5000),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_what_is_json_is_read_as_such_and_the_rest_is_text(enqueued, typed, value):
    (found,) = enqueued(ECHO, typed).args

    assert (type(found), found) == (type(value), value)


def test_everything_can_be_kept_as_text(enqueued):
    result = enqueued("tests.app.tasks.add", "3", "--text", "-k", "b=null")

    assert (result.args, result.kwargs) == (["3"], {"b": "null"})


def test_keyword_arguments(enqueued):
    assert enqueued("tests.app.tasks.add", "-k", "a=1", "--kwarg", "b=x=y").kwargs == {"a": 1, "b": "x=y"}


def test_what_begins_with_a_dash(enqueued):
    assert enqueued("tests.app.tasks.add", "--", "-1e5", "--fast").args == [-100_000.0, "--fast"]


def test_options_of_the_call(enqueued):
    result = enqueued("tests.app.tasks.noop", "--queue", "mail", "--priority", "-7")

    assert (result.task.queue_name, result.task.priority) == ("mail", -7)


def test_in(enqueued):
    result = enqueued("tests.app.tasks.noop", "--in", "10m")

    assert result.task.run_after - result.enqueued_at == timedelta(minutes=10)


def test_at(enqueued):
    result = enqueued("tests.app.tasks.noop", "--at", "2040-01-31T08:00+01:00")

    assert result.task.run_after == datetime(2040, 1, 31, 7, tzinfo=UTC)


def test_at_a_time_of_the_project_s_own_zone(enqueued, settings):
    settings.TIME_ZONE = "Asia/Tokyo"

    assert enqueued("tests.app.tasks.noop", "--at", "2040-01-31 08:00").task.run_after == datetime(
        2040, 1, 30, 23, tzinfo=UTC
    )


def test_json(mainspring):
    shown = mainspring("enqueue", "tests.app.tasks.mail", "ann@example.org", "--json").json
    id = shown.pop("id")

    assert task_backends["default"].get_result(id).args == ["ann@example.org"]
    assert shown == {
        "task": "tests.app.tasks.mail",
        "backend": "default",
        "queue": "mail",
        "priority": 10,
        "run_after": None,
    }
    assert all(key in enqueue.EXAMPLES for key in shown)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tests.app.tasks.ehco"], "is no task. Did you mean 'tests.app.tasks.echo'?"),
        (["tests.app.task.echo"], "cannot be imported.*Did you mean 'tests.app.tasks.echo'?"),
        (["test.app.tasks.echo"], "lies in no installed app.*Did you mean 'tests.app.tasks.echo'?"),
        (["os.system", "ls"], "'os.system' lies in no installed app"),
        ([], "the following arguments are required: PATH$"),
        (["echo"], "'echo' lies in no installed app"),
        ([ECHO], "tests.app.tasks.echo: missing a required argument: 'value'"),
        ([ECHO, "1", "-k", "value=2"], "tests.app.tasks.echo: multiple values for argument 'value'"),
        ([ECHO, "-k", "self=1"], "got an unexpected keyword argument 'self'|missing a required argument"),
        ([ECHO, "-k", "value=1", "-k", "value=two"], "-k value=... was given twice: 1 and 'two'"),
        ([ECHO, "-k", "value"], "argument -k/--kwarg: expected NAME=VALUE, got 'value'"),
        ([ECHO, "1", "--queue", "mial"], "'mial'.*did you mean 'mail'?"),
        ([ECHO, "1", "--priority", "200"], "priority must be a whole number between -100 and 100"),
        ([ECHO, "1", "--in", "soon"], "argument --in: expected seconds, or a text like '90s'"),
        ([ECHO, "1", "--in", "99999999999d"], "argument --in: expected a time that a calendar knows"),
        ([ECHO, "1", "--at", "noon"], "argument --at: expected a time like '2030-01-31T08:00'"),
        ([ECHO, "1", "--at", "2030-02-31"], "argument --at: expected a time like '2030-01-31T08:00'"),
        ([ECHO, "1", "--in", "1h", "--at", "2030-01-31"], "argument --at: not allowed with argument --in"),
        ([ECHO, "1", "--backend", "defualt"], "TASKS has no 'defualt'; did you mean 'default'?"),
        ([ECHO, "1", "--backend", "memory"], r"TASKS\['memory'\] keeps its jobs in the memory"),
    ],
)
def test_what_cannot_be_meant_is_named(mainspring, broker, words, message):
    with pytest.raises(CommandError, match=message.replace("?", r"\?")):
        mainspring("enqueue", *words)
    assert broker.search() == []


def test_a_tasks_module_that_does_not_import_does_not_hide_the_error(mainspring, monkeypatch):
    """The nearest task is a hint; to look for it must not bring up errors of its own."""

    def fail(*_):
        raise RuntimeError("an app's tasks.py is broken")

    monkeypatch.setattr(enqueue, "autodiscover_modules", fail)
    with pytest.raises(CommandError, match="is no task"):
        mainspring("enqueue", "tests.app.tasks.ehco")


def test_a_store_that_is_away(mainspring, away):
    with pytest.raises(CommandError, match="connection refused"):
        mainspring("enqueue", "tests.app.tasks.noop")


def test_other_backends_can_be_called_too(mainspring, settings):
    """A project may run its tasks at once while it is being developed."""
    settings.TASKS = {
        "default": {"BACKEND": f"{type(task_backends).__module__}.backends.immediate.ImmediateBackend"},
    }

    assert mainspring("enqueue", "tests.app.tasks.add", "1", "2").out.strip()
