"""
Mainspring runs Django's standard tasks on the database that a project already has.

The names here are loaded when they are first used, so that `import mainspring` works before Django is set up.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mainspring.backends import enqueue_many
    from mainspring.current import CurrentJob, current_job
    from mainspring.exceptions import (
        BrokerUnavailable,
        InvalidArguments,
        JobFailed,
        KeyLocked,
        LockNotAcquired,
        MainspringError,
        NotInJob,
        NotSentYet,
        NotUnique,
        ResultTimeout,
        Retry,
        TimeLimitExceeded,
        UnknownTask,
    )
    from mainspring.flow.limits import Limit
    from mainspring.flow.locks import lock, semaphore
    from mainspring.flow.unique import Unique
    from mainspring.results import Result
    from mainspring.retries import Backoff
    from mainspring.tasks import Task, task

__version__ = "0.1.0"

_HOMES = {
    "task": "tasks",
    "Task": "tasks",
    "Result": "results",
    "enqueue_many": "backends",
    "Backoff": "retries",
    "CurrentJob": "current",
    "current_job": "current",
    "Retry": "exceptions",
    "MainspringError": "exceptions",
    "InvalidArguments": "exceptions",
    "BrokerUnavailable": "exceptions",
    "JobFailed": "exceptions",
    "ResultTimeout": "exceptions",
    "NotInJob": "exceptions",
    "NotSentYet": "exceptions",
    "NotUnique": "exceptions",
    "KeyLocked": "exceptions",
    "LockNotAcquired": "exceptions",
    "Unique": "flow.unique",
    "Limit": "flow.limits",
    "lock": "flow.locks",
    "semaphore": "flow.locks",
    "TimeLimitExceeded": "exceptions",
    "UnknownTask": "exceptions",
}
__all__ = [
    "Backoff",
    "BrokerUnavailable",
    "CurrentJob",
    "InvalidArguments",
    "JobFailed",
    "KeyLocked",
    "Limit",
    "LockNotAcquired",
    "MainspringError",
    "NotInJob",
    "NotSentYet",
    "NotUnique",
    "Result",
    "ResultTimeout",
    "Retry",
    "Task",
    "TimeLimitExceeded",
    "Unique",
    "UnknownTask",
    "__version__",
    "current_job",
    "enqueue_many",
    "lock",
    "semaphore",
    "task",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
