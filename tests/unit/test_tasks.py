"""The decorator, its options, and the way from a stored path to a task."""

import pickle
import sys
import types
from datetime import timedelta

import pytest
from django.conf import settings
from django.test import override_settings
from django.utils import timezone

import mainspring
from mainspring import compat
from mainspring.compat import InvalidTask
from mainspring.retries import Backoff
from mainspring.tasks import GoneFunction, Task, find_task, is_known_place, load_task, stored_task
from tests.app import odd, tasks


def send(user):
    """A function to make tasks of."""


def use(context, user):
    """One that takes the context."""


# The decorator.


def test_it_takes_a_function_or_options():
    """`@task`, `@task()` and `@task(...)`."""
    for made in (mainspring.task(send), mainspring.task()(send), mainspring.task(priority=5)(send)):
        assert isinstance(made, Task)
        assert isinstance(made, compat.Task)
        assert made.func is send


def test_without_options_it_leaves_all_to_the_settings():
    """None means: as OPTIONS say."""
    made = mainspring.task(send)

    assert (made.priority, made.queue_name, made.backend, made.run_after) == (0, "default", "default", None)
    assert (made.max_attempts, made.backoff, made.retry_on, made.give_up_on, made.max_crashes) == (
        None,
        None,
        None,
        (),
        None,
    )


def test_options_are_kept_in_the_form_in_which_they_are_used():
    """Read once, where the task is made."""
    made = mainspring.task(
        max_attempts=5,
        backoff=[1, "2m", timedelta(hours=1)],
        retry_on=[OSError, ValueError],
        give_up_on=KeyError,
        max_crashes=0,
    )(send)

    assert made.backoff == (1.0, 120.0, 3600.0)
    assert (made.retry_on, made.give_up_on) == ((OSError, ValueError), (KeyError,))
    assert mainspring.task(backoff="linear")(send).backoff == Backoff("linear")
    assert hash(made)


def test_all_wrong_options_are_named_at_once():
    """With the place, what was expected and what came."""
    with pytest.raises(InvalidTask) as caught:
        mainspring.task(max_attempts=0, backoff="sometimes", retry_on="OSError", give_up_on=[1], max_crashes=True)(
            send
        )
    lines = str(caught.value).splitlines()

    assert len(lines) == 5
    assert lines[0] == f"@task {__name__}.send, max_attempts: expected a whole number from 1 to 1,000,000, got 0."
    assert lines[2] == f"@task {__name__}.send, retry_on: expected exception classes, got 'OSError'."


def test_an_unknown_option_is_a_type_error():
    """As for any function."""
    with pytest.raises(TypeError, match="max_atempts"):
        mainspring.task(max_atempts=3)(send)
    with pytest.raises(TypeError, match="run_after cannot be defined statically"):
        mainspring.task(run_after=timezone.now())


def test_the_standard_checks_hold():
    """Those that Django makes of every task."""
    with pytest.raises(InvalidTask, match="module level"):
        mainspring.task(lambda: None if send else 1)
    with pytest.raises(InvalidTask, match="first argument of 'context'"):
        mainspring.task(takes_context=True)(send)
    assert mainspring.task(takes_context=True)(use).takes_context


def test_it_works_with_every_backend():
    """A project's tests may name Django's own."""
    made = mainspring.task(backend="immediate", max_attempts=3)(send)

    assert isinstance(made, Task)
    assert made.enqueue("user").status == "SUCCESSFUL"
    with pytest.raises(InvalidTask, match="run_after"):
        made.using(run_after=timedelta(hours=1))


@override_settings(TASKS={"default": {"BACKEND": "mainspring.backends.MemoryBackend"}})
def test_the_standard_decorator_takes_the_options_too():
    """Where Django passes them on, from 6.1."""
    backend = compat.task_backends["default"]
    made = backend.task_class(func=send, max_attempts=3, backoff="fixed")

    assert made == mainspring.task(max_attempts=3, backoff="fixed")(send)


def test_a_backend_without_timedeltas_gets_a_moment():
    """Django's dummy backend would trip over one."""
    with override_settings(TASKS={"default": {"BACKEND": f"{settings.DJANGO_TASKS}.backends.dummy.DummyBackend"}}):
        run_after = mainspring.task(send).using(run_after=timedelta(hours=1)).run_after
    assert timedelta(minutes=59) < run_after - timezone.now() <= timedelta(hours=1)


def test_using_keeps_the_options():
    """And changes nothing of the task that it was called on."""
    made = mainspring.task(max_attempts=3, backoff=[1, 2])(send)
    other = made.using(priority=7, run_after=timedelta(hours=1))

    assert (other.priority, other.max_attempts, other.backoff) == (7, 3, (1.0, 2.0))
    assert other.run_after == timedelta(hours=1)
    assert made.priority == 0
    assert made.using() == made


def test_a_task_is_async_if_its_function_is():
    assert load_task("tests.app.tasks.async_noop").is_async
    assert not load_task("tests.app.tasks.noop").is_async


def test_a_task_can_be_pickled():
    """Also before Django 6.1, as long as its path leads to it."""
    task = odd.fail_with.using(priority=3)

    assert pickle.loads(pickle.dumps(task)) == task
    with pytest.raises(ValueError, match="to point to a Task instance"):
        pickle.loads(pickle.dumps(mainspring.task(send)))


def test_a_task_whose_options_are_functions_can_be_pickled():
    task = tasks.by_shard.using(priority=3)

    assert pickle.loads(pickle.dumps(task)) == task


# From a path to a task.


def test_a_path_leads_to_its_task():
    """In a module or in a class."""
    assert load_task("tests.app.odd.fail_with") is odd.fail_with
    assert load_task("tests.app.odd.Group.member") is odd.Group.member
    assert load_task("tests.app.odd._double") is odd.double


def test_a_task_of_django_is_loaded_as_one_of_ours():
    """Workers ask every task for its options."""
    loaded = load_task("tests.app.odd.plain")

    assert isinstance(loaded, Task)
    assert (loaded.func, loaded.max_attempts, loaded.give_up_on) == (odd.plain.func, None, ())


def test_a_task_that_has_moved_is_found_under_its_old_name(monkeypatch):
    """An import in the old place is enough to run the jobs that are still under way."""
    monkeypatch.setattr(odd, "moved", tasks.add, raising=False)

    assert load_task("tests.app.odd.moved").func is tasks.add.func


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("os.kill", "no installed app"),
        ("subprocess.run", "no installed app"),
        ("tests.unit.test_tasks.send", "no installed app"),
        ("tests.apple.tasks.send", "no installed app"),
        ("tests.app", "no installed app"),
        ("nodots", "no installed app"),
        ("", "no installed app"),
        ("..", "no installed app"),
        ("tests.app.tasks.gone", "is no task"),
        ("tests.app.tasks.os", "is no task"),
        ("tests.app.tasks.Note.objects", "is no task"),
        ("tests.app.tasks.noop.func", "is no task"),
        ("tests.app.odd.<lambda>", "is no task"),
        ("tests.app.odd.untaken", "is no task"),
        ("tests.app.tasks.os.kill", "is no task"),
        ("tests.app.gone.send", "cannot be imported"),
        ("tests.app..send", "cannot be imported"),
        ("tests.app.tasks.gone.send", "cannot be imported"),
    ],
)
def test_a_path_that_leads_to_no_task_is_explained(path, reason):
    """A stored path is data: only a task is ever called, and only known places are imported."""
    with pytest.raises(mainspring.UnknownTask, match=reason):
        load_task(path)


def test_a_module_that_fails_when_imported_is_explained(tmp_path, monkeypatch):
    """Even one that ends the interpreter."""
    for number, line in enumerate(["1 / 0", "import gone", "raise SystemExit(3)", "def"]):
        (tmp_path / f"broken{number}.py").write_text(line)
    monkeypatch.syspath_prepend(tmp_path)
    for number, kind in enumerate(["ZeroDivisionError", "ModuleNotFoundError", "SystemExit", "SyntaxError"]):
        with pytest.raises(mainspring.UnknownTask, match=f"cannot be imported. {kind}"):
            load_task(f"broken{number}.send", [f"broken{number}"])


def test_listed_modules_are_known_places():
    """With everything below them, and nothing beside them."""
    assert is_known_place("lib.jobs.send", ["lib.jobs"])
    assert is_known_place("lib.jobs.more.send", ["lib.jobs"])
    assert not is_known_place("lib.jobsen.send", ["lib.jobs"])
    assert load_task(f"{__name__}.here", [__name__]) is here


@mainspring.task
def here():
    pass


def test_finding_imports_nothing_for_a_stored_job():
    """A result page must not run code that a row names."""
    sys.modules.pop("this", None)
    task = stored_task("this.zen", "default", 0, "default", None)

    assert "this" not in sys.modules
    assert isinstance(task.func, GoneFunction)
    assert task.module_path == "this.zen"


def test_a_stored_job_finds_its_task_wherever_it_is_loaded():
    """A task in no installed app is no stranger to the process that enqueued it."""
    assert stored_task(f"{__name__}.here", "default", 0, "default", None) == here
    later = timezone.now()
    assert stored_task(f"{__name__}.here", "mail", 3, "memory", later) == here.using(
        queue_name="mail", priority=3, backend="memory", run_after=later
    )


def test_a_gone_task_becomes_known_when_it_comes_back(monkeypatch):
    """What is not found is not remembered."""
    path = "tests_late.send"
    assert isinstance(stored_task(path, "default", 0, "default", None).func, GoneFunction)
    module = types.ModuleType("tests_late")
    module.send = odd.fail_with
    monkeypatch.setitem(sys.modules, "tests_late", module)

    assert stored_task(path, "default", 0, "default", None).func is odd.fail_with.func
    assert find_task(path) is odd.fail_with
