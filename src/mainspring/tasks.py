"""Tasks: Django's Task with options of its own, the decorator that makes one, and the way back from a stored path."""

import sys
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from functools import lru_cache, partial
from importlib import import_module
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Literal, Protocol, TypeVar, overload

from django.apps import apps
from django.conf import settings
from django.utils import timezone
from django.utils.module_loading import import_string

from mainspring import compat, kinds
from mainspring.compat import (
    DEFAULT_TASK_BACKEND_ALIAS,
    DEFAULT_TASK_QUEUE_NAME,
    AnyTask,
    GenericTask,
    InvalidTask,
    P,
    R,
)
from mainspring.conf import check_value, did_you_mean, options_for, read_as
from mainspring.exceptions import InvalidOptions, UnknownTask
from mainspring.flow.fair import By, Fair, parse_fair
from mainspring.flow.limits import Limit, of_task, parse_limits
from mainspring.flow.order import Key, Ordered, names_in, parse_key, parse_ordered
from mainspring.flow.unique import Unique, parse_unique
from mainspring.retries import parse_exceptions
from mainspring.signatures import for_callers

if TYPE_CHECKING:
    from mainspring.results import Result

Kind = TypeVar("Kind", bound=AnyTask)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(GenericTask[P, R], Generic[P, R]):
    """
    A task as Django knows it, and how it is tried again; None leaves a choice to OPTIONS.

    `max_attempts` is how often it is run in all when it raises. `backoff` is the wait before each next attempt: the
    name of a kind of Backoff, a Backoff, a duration, a list of durations, or a function of the attempt and the
    exception. `retry_on` and `give_up_on` are exception classes; the latter goes first. `max_crashes` is at which
    death of its worker a job is given up; 0 means that it is never run twice. `timeout` is how long a run may last,
    0 meaning without limit, and `grace` how long after that until a run that takes no notice is given up. `unique`
    keeps a second job out while there is one: a Unique, or True for Unique(). `limits` are Limits that its jobs share
    with all others that have limits of the same names; `rate` and `concurrency` are one for this task alone. With
    `ordered` jobs that have the same `key` run one after the other: True, or an Ordered. The key is a text with names
    of arguments in braces, or a function of the arguments. `fair_by` has jobs take turns by an argument of this name,
    a function of the arguments, or a Fair with weights.
    """

    # Again, because before Django 6.1 a Task has no defaults.
    priority: int = 0
    backend: str = DEFAULT_TASK_BACKEND_ALIAS
    queue_name: str = DEFAULT_TASK_QUEUE_NAME
    run_after: Any = None  # a datetime, or a timedelta that counts from each enqueue
    takes_context: bool = False

    max_attempts: int | None = None
    backoff: Any = None
    retry_on: tuple[type[BaseException], ...] | None = None
    give_up_on: tuple[type[BaseException], ...] = ()
    max_crashes: int | None = None
    timeout: float | None = None
    grace: float | None = None
    unique: Unique | None = None
    limits: tuple[Limit, ...] = ()
    key: Key | None = None
    ordered: Ordered | None = None
    fair_by: Fair | None = None
    rate: str | None = None
    concurrency: int | None = None

    def __post_init__(self) -> None:
        backend = self.get_backend()
        if isinstance(self.run_after, timedelta) and not issubclass(backend.task_class, Task):
            # Django's own backends know no timedelta.
            object.__setattr__(self, "run_after", timezone.now() + self.run_after)
        backend.validate_task(self)
        _check_options(self)

    @property
    def is_async(self) -> bool:
        return iscoroutinefunction(self.func)

    @property
    def all_limits(self) -> tuple[Limit, ...]:
        """Its limits, and that which it has for itself alone."""
        return (*self.limits, *of_task(self.module_path, self.rate, self.concurrency))

    if TYPE_CHECKING:

        def using(
            self,
            *,
            priority: int | None = None,
            queue_name: str | None = None,
            run_after: datetime | timedelta | None = None,
            backend: str | None = None,
        ) -> "Task[P, R]":
            """Return this task with other values; `run_after` is an aware datetime, or a timedelta from then on."""

        def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> "Result[P, R]": ...
        async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> "Result[P, R]": ...
        def get_result(self, result_id: str) -> "Result[P, R]": ...
        async def aget_result(self, result_id: str) -> "Result[P, R]": ...

    # Before Django 6.1 tasks cannot be pickled.

    @classmethod
    def _reconstruct(cls, path: str, changes: dict[str, Any]) -> "Task[P, R]":
        try:
            found = import_string(path)
            return copy_task(found, cls, func=found.func, **changes)
        except (ImportError, AttributeError) as error:
            raise ValueError(f"Expected {path!r} to point to a Task instance.") from error

    def __reduce__(self) -> tuple[Any, ...]:
        # All else stands where the task is, and may hold functions that cannot be pickled.
        changes = {name: getattr(self, name) for name in ("priority", "queue_name", "run_after", "backend")}
        return type(self)._reconstruct, (self.module_path, changes)


class Decorator(Protocol):
    """Makes a function a task."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...


class ContextDecorator(Protocol):
    """Makes a function whose first argument is `context` a task; its callers leave that argument out."""

    @overload
    def __call__(self, function: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /) -> Task[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Any, P], R], /) -> Task[P, R]: ...


@overload
def task(function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R]: ...
@overload
def task(function: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(
    *,
    priority: int = ...,
    queue_name: str = ...,
    backend: str = ...,
    takes_context: Literal[False] = ...,
    max_attempts: int | None = ...,
    backoff: Any = ...,
    retry_on: type[BaseException] | Iterable[type[BaseException]] | None = ...,
    give_up_on: type[BaseException] | Iterable[type[BaseException]] = ...,
    max_crashes: int | None = ...,
    timeout: timedelta | float | str | None = ...,
    grace: timedelta | float | str | None = ...,
    unique: Unique | bool | None = ...,
    limits: Limit | Iterable[Limit] = ...,
    key: Key | None = ...,
    ordered: Ordered | bool | None = ...,
    fair_by: Fair | By | None = ...,
    rate: str | None = ...,
    concurrency: int | None = ...,
) -> Decorator: ...
@overload
def task(
    *,
    priority: int = ...,
    queue_name: str = ...,
    backend: str = ...,
    takes_context: Literal[True],
    max_attempts: int | None = ...,
    backoff: Any = ...,
    retry_on: type[BaseException] | Iterable[type[BaseException]] | None = ...,
    give_up_on: type[BaseException] | Iterable[type[BaseException]] = ...,
    max_crashes: int | None = ...,
    timeout: timedelta | float | str | None = ...,
    grace: timedelta | float | str | None = ...,
    unique: Unique | bool | None = ...,
    limits: Limit | Iterable[Limit] = ...,
    key: Key | None = ...,
    ordered: Ordered | bool | None = ...,
    fair_by: Fair | By | None = ...,
    rate: str | None = ...,
    concurrency: int | None = ...,
) -> ContextDecorator: ...
def task(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """
    Make a module-level function a task: Django's decorator with more options, for every Django and every backend.

    `Task` says what the further options mean. Raise InvalidTask when one of them cannot be used.
    """
    if "run_after" in options:
        raise TypeError(
            "run_after cannot be defined statically with the @task decorator. "
            "Use .using(run_after=...) to set it dynamically."
        )

    def wrap(function: Callable[..., Any]) -> Task:
        return Task(func=function, **options)

    return wrap if function is None else wrap(function)


def load_task(path: str, modules: Collection[str] = ()) -> Task:
    """
    Return the task at a stored path; raise UnknownTask, with the reason, when this project has none there.

    Only what lies in an installed app or in one of `modules` is imported: a path is data, and an import runs code.
    """
    if not is_known_place(path, modules):
        raise UnknownTask(
            f"{path!r:.300} lies in no installed app. Add its app to INSTALLED_APPS, or its module to "
            "TASKS[...]['OPTIONS']['task_modules']."
        )
    found = _find(path)
    return found if isinstance(found, Task) else copy_task(found, Task)


def stored_task(path: str, queue_name: str, priority: int, backend: str, run_after: datetime | None) -> AnyTask:
    """
    Return the task of a stored job as it was enqueued, without asking whether it could still be enqueued like that.

    Of one that is gone there remains a task that shows its path, and whose call raises UnknownTask.
    """
    try:
        found = _stored_task(path, queue_name, priority, backend)
    except UnknownTask as error:
        function = GoneFunction(path, str(error))
        found = copy_task(None, Task, func=function, queue_name=queue_name, priority=priority, backend=backend)
    return found if run_after is None else copy_task(found, type(found), run_after=run_after)


def is_known_place(path: str, modules: Collection[str]) -> bool:
    """Does a path lie in an installed app or in one of these modules?"""
    # Some are named by their configuration in the settings; and a test's `available_apps` hides apps, not their tasks.
    places = [*modules, *settings.INSTALLED_APPS, *(config.name for config in apps.get_app_configs())]
    return any(path.startswith(f"{place}.") for place in places)


def find_task(path: str) -> AnyTask | None:
    """Import what a path leads to and return the task there, None if there is none; import errors pass through."""
    parent, _, name = path.rpartition(".")
    try:
        home = import_module(parent)
    except ModuleNotFoundError as error:
        if error.name != parent or "." not in parent:
            raise
        home = import_string(parent)
        if not isinstance(home, type):  # a class may have tasks in its body
            return None
    found = getattr(home, name, None)
    if isinstance(found, compat.Task):
        return found
    # `send = task(_send)`: the path is the function's, and the task stands beside it under another name.
    beside = [task for task in vars(home).values() if isinstance(task, compat.Task) and task.module_path == path]
    return beside[0] if len({task.func for task in beside}) == 1 else None


class GoneFunction:
    """Stands for the function of a task that this project no longer has."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        self.__module__, _, self.__qualname__ = path.rpartition(".")
        self.__name__ = self.__qualname__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise UnknownTask(self.reason)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GoneFunction) and other.path == self.path

    def __hash__(self) -> int:
        return hash(self.path)

    def __repr__(self) -> str:
        return f"<function {self.path}, which is gone>"


# A result is made for every signal of every job, mostly of a few tasks: 0.3 microseconds instead of 8.
@lru_cache(maxsize=1024)
def _stored_task(path: str, queue_name: str, priority: int, backend: str) -> AnyTask:
    # What is loaded already can be looked up wherever it lies; nothing is run by that.
    is_loaded = path.rpartition(".")[0] in sys.modules
    found = _find(path) if is_loaded else load_task(path, options_for(backend).task_modules)
    return copy_task(found, type(found), queue_name=queue_name, priority=priority, backend=backend)


def _find(path: str) -> AnyTask:
    try:
        found = find_task(path)
    except (Exception, SystemExit) as error:  # whatever a module does when it is imported
        raise UnknownTask(f"{path!r:.300} cannot be imported. {type(error).__name__}: {error}") from error
    if found is None:
        raise UnknownTask(f"{path!r:.300} is no task.")
    return found


def copy_task(source: AnyTask | None, kind: type[Kind], **changes: Any) -> Kind:
    """Return a task of this kind with the fields of `source`, made without validation."""
    copy = object.__new__(kind)
    for field in fields(kind):
        value = changes[field.name] if field.name in changes else getattr(source, field.name, field.default)
        object.__setattr__(copy, field.name, value)
    return copy


def _check_options(task: Task) -> None:
    """Bring a new task's options into the form in which they are used; raise InvalidTask that names all wrong ones."""
    problems = []
    for name, read in _READ.items():
        given = getattr(task, name)
        try:
            object.__setattr__(task, name, read(given))
        except (InvalidOptions, ValueError) as error:
            problems.append(f"@task {task.module_path}, {name}: {error}.")
    if not problems:
        problems = [f"@task {task.module_path}, {problem}" for problem in _misfits(task)]
    if problems:
        raise InvalidTask("\n".join(problems))


def _misfits(task: Task) -> Iterator[str]:
    """Yield what does not fit together among options that are good each by itself."""
    if (task.key is None) != (task.ordered is None):
        yield "key and ordered go together: give both, such as key='order:{order_id}', ordered=True, or neither."
    known = list(for_callers(task.func, task.takes_context).parameters)
    by = task.unique.by if task.unique is not None and isinstance(task.unique.by, tuple) else ()
    fair_by = (task.fair_by.by,) if task.fair_by is not None and isinstance(task.fair_by.by, str) else ()
    key = names_in(task.key) if isinstance(task.key, str) else ()
    for place, names in (("unique: by", by), ("key", key), ("fair_by", fair_by)):
        for name in names:
            if name not in known:
                yield f"{place}: the function has no argument {name!r}{did_you_mean(name, known)}"


def _or_none(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else read(value)


_READ: dict[str, Callable[[Any], Any]] = {
    "max_attempts": _or_none(partial(check_value, "max_attempts")),
    "backoff": _or_none(partial(check_value, "backoff")),
    "retry_on": _or_none(parse_exceptions),
    "give_up_on": parse_exceptions,
    "max_crashes": _or_none(partial(check_value, "max_crashes")),
    "timeout": _or_none(partial(read_as, kinds.TIMEOUT)),
    "grace": _or_none(partial(check_value, "grace")),
    "unique": parse_unique,
    "limits": parse_limits,
    "key": parse_key,
    "ordered": parse_ordered,
    "fair_by": parse_fair,
    "rate": _or_none(partial(read_as, kinds.RATE)),
    "concurrency": _or_none(partial(read_as, kinds.CONCURRENCY)),
}
