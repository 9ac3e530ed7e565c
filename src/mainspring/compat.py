"""The one place that knows where Django's tasks are: `django.tasks` from 6.0 on, before that the backport's."""

from types import GenericAlias
from typing import TYPE_CHECKING, Any

import django

if TYPE_CHECKING or django.VERSION >= (6, 0):
    from django.tasks import DEFAULT_TASK_BACKEND_ALIAS, DEFAULT_TASK_QUEUE_NAME, task_backends
    from django.tasks.backends.base import BaseTaskBackend
    from django.tasks.base import (
        TASK_MAX_PRIORITY,
        TASK_MIN_PRIORITY,
        Task,
        TaskContext,
        TaskError,
        TaskResult,
        TaskResultStatus,
    )
    from django.tasks.exceptions import InvalidTask, InvalidTaskBackend, TaskResultDoesNotExist, TaskResultMismatch
    from django.tasks.signals import (
        log_task_finished,
        log_task_started,
        task_enqueued,
        task_finished,
        task_started,
    )
    from django.tasks.signals import logger as tasks_logger
    from django.utils.json import normalize_json
else:
    import django_tasks.exceptions as _exceptions
    from django_tasks import DEFAULT_TASK_BACKEND_ALIAS, DEFAULT_TASK_QUEUE_NAME, task_backends
    from django_tasks.backends.base import BaseTaskBackend
    from django_tasks.base import (
        TASK_MAX_PRIORITY,
        TASK_MIN_PRIORITY,
        Task,
        TaskContext,
        TaskError,
        TaskResult,
        TaskResultStatus,
    )
    from django_tasks.exceptions import TaskResultDoesNotExist, TaskResultMismatch
    from django_tasks.signals import (
        log_task_finished,
        log_task_started,
        task_enqueued,
        task_finished,
        task_started,
    )
    from django_tasks.signals import logger as tasks_logger
    from django_tasks.utils import normalize_json

    # The backport's next release takes Django's names for these two.
    InvalidTask = getattr(_exceptions, "InvalidTask", None) or _exceptions.InvalidTaskError
    InvalidTaskBackend = getattr(_exceptions, "InvalidTaskBackend", None) or _exceptions.InvalidTaskBackendError

if TYPE_CHECKING:
    from typing import TypeAlias

    from typing_extensions import ParamSpec, TypeVar

    P = ParamSpec("P", default=...)  # with defaults, so that a plain `Task` is one of any signature
    R = TypeVar("R", default=Any)
    # The stubs have made these two generic; Django itself has not.
    GenericTask: TypeAlias = Task
    GenericTaskResult: TypeAlias = TaskResult
    AnyTask: TypeAlias = Task[..., Any]
    AnyTaskResult: TypeAlias = TaskResult[..., Any]
else:
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    R = TypeVar("R")
    AnyTask = Task
    AnyTaskResult = TaskResult

    class _Subscriptable:
        """Lets `Base[P, R]` stand among the bases of a class."""

        def __init__(self, base: type) -> None:
            self._base = base

        def __getitem__(self, parameters: Any) -> GenericAlias:
            return GenericAlias(self._base, parameters)

    GenericTask = _Subscriptable(Task)
    GenericTaskResult = _Subscriptable(TaskResult)

__all__ = [
    "DEFAULT_TASK_BACKEND_ALIAS",
    "DEFAULT_TASK_QUEUE_NAME",
    "TASK_MAX_PRIORITY",
    "TASK_MIN_PRIORITY",
    "AnyTask",
    "AnyTaskResult",
    "BaseTaskBackend",
    "GenericTask",
    "GenericTaskResult",
    "InvalidTask",
    "InvalidTaskBackend",
    "P",
    "R",
    "Task",
    "TaskContext",
    "TaskError",
    "TaskResult",
    "TaskResultDoesNotExist",
    "TaskResultMismatch",
    "TaskResultStatus",
    "log_task_finished",
    "log_task_started",
    "normalize_json",
    "task_backends",
    "task_enqueued",
    "task_finished",
    "task_started",
    "tasks_logger",
]
