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
        RetryAfter,
        TimeLimitExceeded,
        UnknownTask,
    )
    from mainspring.flow.fair import Fair
    from mainspring.flow.limits import Limit
    from mainspring.flow.locks import lock, semaphore
    from mainspring.flow.order import Ordered
    from mainspring.flow.unique import Unique
    from mainspring.limit_handles import LimitHandle, limit
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
    "RetryAfter": "exceptions",
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
    "Fair": "flow.fair",
    "Limit": "flow.limits",
    "LimitHandle": "limit_handles",
    "limit": "limit_handles",
    "Ordered": "flow.order",
    "lock": "flow.locks",
    "semaphore": "flow.locks",
    "TimeLimitExceeded": "exceptions",
    "UnknownTask": "exceptions",
}
__all__ = [
    "Backoff",
    "BrokerUnavailable",
    "CurrentJob",
    "Fair",
    "InvalidArguments",
    "JobFailed",
    "KeyLocked",
    "Limit",
    "LimitHandle",
    "LockNotAcquired",
    "MainspringError",
    "NotInJob",
    "NotSentYet",
    "NotUnique",
    "Ordered",
    "Result",
    "ResultTimeout",
    "Retry",
    "RetryAfter",
    "Task",
    "TimeLimitExceeded",
    "Unique",
    "UnknownTask",
    "__version__",
    "current_job",
    "enqueue_many",
    "limit",
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
