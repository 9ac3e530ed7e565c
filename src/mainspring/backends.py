"""The backends that TASKS names: they check a call, make it a job, hand it on, and look jobs up."""

import os
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from django.conf import settings
from django.core.checks import CheckMessage
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.db import router
from django.db.models import Model
from django.utils import timezone

from mainspring import job as machine
from mainspring import kinds, outbox
from mainspring.brokers.base import Broker
from mainspring.brokers.database import DatabaseBroker
from mainspring.brokers.memory import MemoryBroker
from mainspring.brokers.uniqueness import OnConflict
from mainspring.calls import check_path, check_signature
from mainspring.clock import SECOND, to_moment
from mainspring.compat import (
    TASK_MAX_PRIORITY,
    TASK_MIN_PRIORITY,
    AnyTask,
    AnyTaskResult,
    BaseTaskBackend,
    InvalidTask,
    TaskResultDoesNotExist,
    task_backends,
    task_enqueued,
)
from mainspring.conf import Options, did_you_mean, options_for, prefix_for
from mainspring.exceptions import InvalidArguments
from mainspring.flow.limits import Limit, named, of_queue
from mainspring.flow.order import order_key
from mainspring.job import Job
from mainspring.kinds import LONGEST_QUEUE_NAME
from mainspring.payload import decode_arguments, encode_arguments
from mainspring.results import Result, result_of, shown
from mainspring.signatures import bound
from mainspring.tasks import Task, copy_task

LONGEST_ID = 36  # characters, the width of its column
FIRST_MOMENT, LAST_MOMENT = (to_moment(limit.replace(tzinfo=UTC)) for limit in (datetime.min, datetime.max))


class MainspringBackend(BaseTaskBackend):
    """What the backends have in common; each says in which database it keeps its jobs, if in any."""

    task_class = Task
    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    @property
    def database(self) -> str | None:
        """The alias in DATABASES of the database that holds the jobs, or None."""
        return None

    @property
    def broker(self) -> Broker:
        """The store of the jobs, one for the whole process."""
        return broker_for(self.alias)

    def new_broker(self) -> Broker:
        """Return a broker for the store of the jobs."""
        return make_broker(self.alias, self.database)

    @property
    def mainspring_options(self) -> Options:
        """OPTIONS, checked and complete."""
        return options_for(self.alias)

    def validate_task(self, task: AnyTask) -> None:
        """Raise InvalidTask unless this backend can run the task; Django's checks, and what they leave to chance."""
        _check_priority(task.priority)
        _check_run_after(task.run_after)
        self._check_queue(task.queue_name)
        if isinstance(task.run_after, timedelta):
            task = copy_task(task, type(task), run_after=None)
        super().validate_task(task)

    def enqueue(self, task: AnyTask, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """
        Store a call of the task as a job that exists if and only if the caller's transaction commits.

        Where the task is unique and another job stands for this call, return that one's result, whose `is_existing`
        is True, or raise NotUnique.

        Raise InvalidTask or InvalidArguments, with nothing stored, for what could never be run.
        """
        return self.enqueue_many(task, [(args, kwargs)])[0]

    def enqueue_many(self, task: AnyTask, calls: Iterable[tuple[Sequence[Any], Mapping[str, Any]]]) -> list[Result]:
        """Do as `enqueue` for many calls of one task, given as `(args, kwargs)`, all stored or none."""
        self.validate_task(task)
        check_path(task.func, task.module_path, self.alias)
        jobs = self._jobs(task, list(calls))
        unique = getattr(task, "unique", None)
        on_conflict = None if unique is None else OnConflict(unique.on_conflict)
        standing = outbox.deliver(self.broker, jobs, self.mainspring_options.on_commit, on_conflict) if jobs else []
        results = [
            self._enqueued(task, stands) if stands.id == job.id else self._existing(stands)
            for job, stands in zip(jobs, standing, strict=True)
        ]
        for result in results:
            if not result.is_existing:
                task_enqueued.send(type(self), task_result=result)
        return results

    def get_result(self, result_id: str) -> Result:
        """Return the result with this id; raise TaskResultDoesNotExist for any id that was never given or is gone."""
        job = self._find(result_id) if _can_be_id(result_id) else None
        if job is None:
            raise TaskResultDoesNotExist(result_id)
        return result_of(job, self.alias)

    def check(self, **kwargs: Any) -> list[CheckMessage]:
        """Return what is wrong with the settings of this backend."""
        from mainspring.checks import check_backend  # it looks at the worker, which uses us

        return check_backend(self.alias, settings.TASKS[self.alias])

    def _check_queue(self, name: object) -> None:
        if not isinstance(name, str) or not 0 < len(name) <= LONGEST_QUEUE_NAME:
            raise InvalidTask(f"queue_name must be a text of 1 to {LONGEST_QUEUE_NAME} characters, not {name!r:.200}.")
        if self.queues and name not in self.queues:
            raise InvalidTask(
                f"Queue '{name}' is not valid for backend. TASKS[{self.alias!r}]['QUEUES'] has no such name"
                f"{did_you_mean(name, self.queues)}"
            )

    def _jobs(self, task: AnyTask, calls: Sequence[tuple[Sequence[Any], Mapping[str, Any]]]) -> list[Job]:
        at = outbox.now(self.broker)
        jobs = []
        for number, (args, kwargs) in enumerate(calls):
            try:
                # A microsecond apart, so that they run in the order in which they are given.
                jobs.append(self._job(task, args, kwargs, at + number))
            except InvalidArguments as error:
                if len(calls) > 1:
                    error.add_note(f"It is call {number + 1} of {len(calls)}; none of them has been enqueued.")
                raise
        return jobs

    def _job(self, task: AnyTask, args: Sequence[Any], kwargs: Mapping[str, Any], at: int) -> Job:
        check_signature(task, args, kwargs)
        path = task.module_path
        arguments = encode_arguments(path, args, kwargs, self.mainspring_options.max_payload)
        return machine.new_job(
            task_path=path,
            arguments=arguments,
            queue_name=task.queue_name,
            priority=int(task.priority),
            at=at,
            run_after=_run_after(task.run_after, at),
            max_crashes=getattr(task, "max_crashes", None),
            **_flow_of(task, arguments, of_queue(task.queue_name, self.mainspring_options.queue_settings)),
        )

    def _enqueued(self, task: AnyTask, job: Job) -> Result:
        if isinstance(task.run_after, timedelta):
            task = copy_task(task, type(task), run_after=shown(job.run_after))
        result = result_of(job, self.alias)
        object.__setattr__(result, "task", task)
        return result

    def _existing(self, job: Job) -> Result:
        result = result_of(job, self.alias)
        object.__setattr__(result, "is_existing", True)
        return result

    def _find(self, id: str) -> Job | None:
        return self.broker.get(id) or outbox.unsent(self.broker, id)


class DatabaseBackend(MainspringBackend):
    """Keeps jobs in a database of the project: the one that OPTIONS["database"] names, or the routers choose."""

    @property
    def database(self) -> str:
        return self.mainspring_options.database or router.db_for_write(_job_model())


class RedisBackend(MainspringBackend):
    """Keeps jobs on the Redis, Valkey or Cluster at OPTIONS["url"]."""


class MemoryBackend(MainspringBackend):
    """
    Keeps jobs in the memory of this process, where `mainspring.testing.drain` runs them.

    It has what tests use of Django's DummyBackend: `results` and `clear`.
    """

    def new_broker(self) -> Broker:
        return MemoryBroker(self.alias)

    @property
    def results(self) -> list[Result]:
        """Everything that was enqueued, oldest first."""
        jobs = [*self.broker.search(limit=sys.maxsize), *outbox.waiting_jobs(self.broker)]
        return [result_of(job, self.alias) for job in sorted(jobs, key=lambda job: (job.enqueued_at, job.id))]

    def clear(self) -> None:
        """Forget everything that was enqueued."""
        cast(MemoryBroker, self.broker).clear()


def enqueue_many(task: AnyTask, calls: Iterable[Any]) -> list[AnyTaskResult]:
    """
    Enqueue many calls of one task at once, all or none, and return their results in order.

    A call is a dict of keyword arguments, a list or tuple of positional ones, or a tuple of a tuple and a dict: both.
    With another backend than Mainspring's the calls are enqueued one by one.
    """
    pairs = [_pair(task, number, call) for number, call in enumerate(calls, start=1)]
    backend = task.get_backend()
    if isinstance(backend, MainspringBackend):
        return list(backend.enqueue_many(task, pairs))
    return [backend.enqueue(task, list(args), dict(kwargs)) for args, kwargs in pairs]


def broker_for(alias: str) -> Broker:
    """Return this process's broker for a backend of TASKS."""
    broker = _brokers.get(alias)
    if broker is None:
        with _making:
            broker = _brokers.get(alias)
            if broker is None:
                broker = _brokers[alias] = cast(MainspringBackend, task_backends[alias]).new_broker()
    return broker


def make_broker(alias: str, database: str | None) -> Broker:
    """Return a new broker for a backend of TASKS that keeps its jobs in this database, or on Redis if it is None."""
    return _redis_broker(alias) if database is None else DatabaseBroker(alias, database)


def _redis_broker(alias: str) -> Broker:
    options = options_for(alias)
    if options.url is None:
        raise ImproperlyConfigured(f"TASKS[{alias!r}] OPTIONS['url'] must say where Redis is. {kinds.URL_EXAMPLE}")
    try:
        from mainspring.brokers.redis import RedisBroker  # its client is an extra
    except ImportError as error:
        raise ImproperlyConfigured(
            f"TASKS[{alias!r}] keeps its jobs on Redis, whose client is missing ({error})."
            " Run `pip install 'django-mainspring[redis]'`."
        ) from error
    return RedisBroker(alias, options.url, prefix_for(alias, options))


_brokers: dict[str, Broker] = {}
_making = threading.RLock()  # a database router may enqueue


def _forget_brokers(*, setting: str = "TASKS", **_: Any) -> None:
    if setting == "TASKS":
        _brokers.clear()


setting_changed.connect(_forget_brokers)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_brokers)


def _job_model() -> type[Model]:
    try:
        from mainspring.models import Job as JobModel  # not above: the first @task makes a backend, before the models
    except RuntimeError as error:  # which Django raises for models of no app
        raise ImproperlyConfigured(
            "A backend of TASKS keeps its jobs in the tables of the app mainspring. "
            'Add "mainspring" to INSTALLED_APPS, then run `manage.py migrate`.'
        ) from error
    return JobModel


def _can_be_id(id: object) -> bool:
    return isinstance(id, str) and 0 < len(id) <= LONGEST_ID and id.isascii() and id.isprintable()


def _check_priority(priority: Any) -> None:
    # Django compares first, where a text or NaN ends in an error of Python's own, and does not say what it was given.
    try:
        is_good = int(priority) == priority and TASK_MIN_PRIORITY <= priority <= TASK_MAX_PRIORITY
    except (TypeError, ValueError, OverflowError):
        is_good = False
    if not is_good:
        raise InvalidTask(
            f"priority must be a whole number between {TASK_MIN_PRIORITY} and {TASK_MAX_PRIORITY}."
            f" It is {priority!r:.100}."
        )


def _check_run_after(run_after: object) -> None:
    if run_after is not None and not isinstance(run_after, datetime | timedelta):
        raise InvalidTask(f"run_after must be an aware datetime or a timedelta, not {run_after!r:.100}.")
    if settings.USE_TZ and isinstance(run_after, datetime) and timezone.is_naive(run_after):
        raise InvalidTask(
            f"run_after must be an aware datetime. {run_after!r} has no time zone: give it one with "
            "django.utils.timezone.make_aware(), or give a timedelta."
        )


def _flow_of(task: AnyTask, arguments: str, of_its_queue: tuple[Limit, ...]) -> dict[str, Any]:
    """Return what a job of this call has that keeps it from getting in the way of others."""
    own = task if isinstance(task, Task) else None
    limits = (*(own.all_limits if own else ()), *of_its_queue)
    if not limits and not (own and (own.unique or own.ordered or own.fair_by)):
        return {}
    path = task.module_path
    # As the worker will find them: what JSON changes, an enum or a tuple, would make other names there.
    call = bound(task.func, task.takes_context, *decode_arguments(arguments))
    flow: dict[str, Any] = {"limits": named(limits, path, call)}
    if own and own.unique:
        flow["unique_key"] = own.unique.key(path, call)
    if own and own.ordered and own.key:
        flow |= {"order_key": order_key(own.key, path, call), "blocks": own.ordered.blocks}
    if own and own.fair_by:
        flow["fair_key"] = own.fair_by.key(path, task.queue_name, int(task.priority), call)
    return flow


def _run_after(value: datetime | timedelta | None, at: int) -> int | None:
    """Return the moment that a task's `run_after` means when it is enqueued at this moment."""
    if value is None:
        return None
    if isinstance(value, timedelta):
        moment = at + (value.days * 86_400 + value.seconds) * SECOND + value.microseconds
    else:
        moment = to_moment(value if timezone.is_aware(value) else timezone.make_aware(value))
    if not FIRST_MOMENT <= moment <= LAST_MOMENT:
        raise InvalidTask(f"run_after is further away than a date can be: {value!r}.")
    return moment


def _pair(task: AnyTask, number: int, call: object) -> tuple[Sequence[Any], Mapping[str, Any]]:
    match call:
        case (tuple() as args, dict() as kwargs) if isinstance(call, tuple):
            return args, kwargs
        case dict():
            return (), call
        case list() | tuple():
            return call, {}
    raise InvalidArguments(
        f"{task.module_path}: call {number} is neither a dict of keyword arguments nor a list or tuple of positional "
        f"ones: {call!r:.200}"
    )
