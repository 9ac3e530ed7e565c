"""What could never be run is refused where it is enqueued, by name, and nothing is stored."""

from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest
from django.test import override_settings
from django.utils import timezone

import mainspring
from mainspring.compat import InvalidTask, task_backends
from mainspring.tasks import Task, copy_task
from tests.app import odd, tasks

CYCLE = []
CYCLE.append(CYCLE)
DEEP = []
for _ in range(100_000):
    DEEP = [DEEP]

# One value each, and what the error says of it.
UNSTORABLE = {
    "nan": (float("nan"), "not JSON compliant"),
    "infinity": ({"a": [float("inf")]}, "not JSON compliant"),
    "set": ({1, 2}, "Unsupported type: <class 'set'>"),
    "object": (object(), "Unsupported type: <class 'object'>"),
    "class": (dict, "Unsupported type: <class 'type'>"),
    "datetime": (datetime(2030, 1, 1), "Unsupported type: <class 'datetime.datetime'>"),
    "decimal": ([Decimal("1.5")], "Unsupported type: <class 'decimal.Decimal'>"),
    "generator": ((n for n in range(2)), "Unsupported type: <class 'generator'>"),
    "lambda": (lambda: 1, "Unsupported type: <class 'function'>"),
    "cycle": (CYCLE, "Circular reference"),
    "deep": (DEEP, "nested too deeply"),
    "5,000 digits": (10**5000, "4300"),
    "undecodable bytes": (b"\xff", "can't decode"),
    "tuple as key": ({(1, 2): 3}, "unhashable type"),
    "object as key": ({object(): 3}, "Unsupported type"),
}


@pytest.fixture(autouse=True)
def nothing_is_stored(backend):
    yield
    assert backend.broker.search() == []


@pytest.mark.parametrize(("value", "reason"), UNSTORABLE.values(), ids=UNSTORABLE)
def test_an_argument_that_json_cannot_carry(on, value, reason):
    """The error names the task, the argument, and what is wrong with it; it is a TypeError, as in Django."""
    for args, kwargs, name in [((value,), {}, "argument 1"), ((), {"value": value}, "argument 'value'")]:
        with pytest.raises(mainspring.InvalidArguments) as caught:
            on(tasks.echo).enqueue(*args, **kwargs)
        assert str(caught.value).startswith(f"tests.app.tasks.echo: {name}: ")
        assert reason in str(caught.value)
        assert isinstance(caught.value, TypeError)


def test_arguments_that_are_too_large(on):
    """The limit stands in the message, and what to do instead."""
    with pytest.raises(mainspring.InvalidArguments, match=r"1,000,0\d\d bytes .* allows 1,000,000; store the data"):
        on(tasks.echo).enqueue("x" * 1_000_000)


@pytest.mark.parametrize(
    ("args", "kwargs", "reason"),
    [
        ((1,), {}, "missing a required argument: 'b'"),
        ((1, 2, 3), {}, "too many positional arguments"),
        ((1, 2), {"a": 3}, "multiple values for argument 'a'"),
        ((1, 2), {"c": 3}, "unexpected keyword argument 'c'"),
    ],
)
def test_a_call_that_does_not_fit_the_function(on, args, kwargs, reason):
    """It would fail in the worker, far from its cause. The message shows what the task takes."""
    with pytest.raises(mainspring.InvalidArguments, match=rf"tests.app.tasks.add: .*{reason}; it takes \(a, b\)\."):
        on(tasks.add).enqueue(*args, **kwargs)


def test_the_context_is_given_by_the_worker(on):
    """Whoever enqueues leaves it out."""
    with pytest.raises(mainspring.InvalidArguments, match=r"too many positional arguments; it takes \(\)\."):
        on(tasks.attempt).enqueue("context")


@pytest.mark.parametrize("priority", [-101, 101, 1.5, "high", "5", None, float("nan"), float("inf"), [], 10**400])
def test_a_priority_that_is_none(alias, priority):
    """Django's own words for all of them, and what was given."""
    with pytest.raises(InvalidTask, match=r"priority must be a whole number between -100 and 100\. It is ."):
        task_backends[alias].validate_task(_with(priority=priority))


@pytest.mark.parametrize("run_after", ["tomorrow", 3600, date(2030, 1, 1), object()])
def test_a_run_after_that_is_no_time(on, run_after):
    """A number of seconds is a number of what?"""
    with pytest.raises(InvalidTask, match="run_after must be an aware datetime or a timedelta, not"):
        on(tasks.noop, run_after=run_after)


def test_a_naive_datetime(on):
    """Of which time zone? The way out is in the message."""
    with pytest.raises(InvalidTask, match=r"run_after must be an aware datetime\. .*2030, 1, 1.*make_aware\(\)"):
        on(tasks.noop, run_after=datetime(2030, 1, 1))


@pytest.mark.parametrize("delay", [timedelta.max, timedelta.min, timedelta(days=365 * 9000)])
def test_a_time_out_of_all_calendars(on, delay):
    """It can only be told at the enqueue, from which it counts."""
    with pytest.raises(InvalidTask, match="further away than a date can be"):
        on(tasks.noop, run_after=delay).enqueue()


@pytest.mark.parametrize("queue_name", ["", "x" * 101, 5, b"mail", [], {}])
def test_a_queue_name_that_is_none(alias, queue_name):
    """Where QUEUES is empty every text is allowed, but it must be one that fits."""
    with (
        override_settings(TASKS={"default": {"BACKEND": "mainspring.backends.MemoryBackend", "QUEUES": []}}),
        pytest.raises(InvalidTask, match="queue_name must be a text of 1 to 100 characters"),
    ):
        task_backends["default"].validate_task(_with(queue_name=queue_name))


def test_an_undeclared_queue(on):
    """The nearest name is offered."""
    with pytest.raises(InvalidTask, match=r"Queue 'mial' is not valid for backend\..*; did you mean 'mail'\?"):
        on(tasks.noop, queue_name="mial")


def test_a_queue_that_the_settings_no_longer_have(on, alias):
    """Asked again at each enqueue, as the task may be older than the settings."""
    task = on(tasks.mail)
    with (
        override_settings(TASKS={alias: {"BACKEND": "mainspring.backends.MemoryBackend"}}),
        pytest.raises(InvalidTask, match="Queue 'mail' is not valid"),
    ):
        task.enqueue("a@example.org")


def test_a_task_that_no_worker_could_find(on):
    """Two lambdas share one path, and a function under no task's name leads to no task."""
    with pytest.raises(InvalidTask, match=r"no task at tests.app.odd.<lambda>.* Define it with @task at the top"):
        on(odd.anonymous).enqueue()
    with pytest.raises(InvalidTask, match=r"no task at tests.app.odd.untaken"):
        on(mainspring.task(odd.untaken)).enqueue()


def test_a_task_in_no_installed_app_is_warned_about_once(on, alias, caplog):
    """Its jobs are stored, since only the workers' settings decide; but it is said at once."""
    task = on(elsewhere)
    with caplog.at_level("WARNING", "mainspring"):
        results = [task.enqueue(), task.enqueue()]
    task_backends[alias].broker.cancel([result.id for result in results])
    task_backends[alias].broker.prune(["cancelled"], 2**60, 10)

    assert [record.getMessage() for record in caplog.records if "installed app" in record.getMessage()] == [
        f"Workers leave jobs of {__name__}.elsewhere alone because it lies in no installed app: add its app to "
        f"INSTALLED_APPS, or its module to TASKS['{alias}']['OPTIONS']['task_modules']."
    ]


@mainspring.task
def elsewhere():
    pass


def test_a_wrong_time_is_named_where_the_task_is_made(on):
    """`using` makes a new task, which is checked like any other."""
    with pytest.raises(InvalidTask, match="priority"):
        on(tasks.noop).using(priority=1000, run_after=timezone.now())


def _with(**changes):
    """Return a task that nobody has checked."""
    return copy_task(tasks.noop, Task, **changes)
