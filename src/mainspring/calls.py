"""What is checked of a call before it is stored: that it fits the function, and that a worker will find the task."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from django.apps import apps

from mainspring.compat import AnyTask, InvalidTask
from mainspring.conf import options_for
from mainspring.exceptions import InvalidArguments
from mainspring.signatures import numbers_of_arguments, shown, signature_of
from mainspring.tasks import find_task, is_known_place

logger = logging.getLogger("mainspring")

LONGEST_PATH = 255  # characters, the width of its column


def check_signature(task: AnyTask, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raise InvalidArguments unless the task's function can be called like this."""
    given = (None, *args) if task.takes_context else args
    if not kwargs and len(given) in numbers_of_arguments(task.func):
        return  # nearly all calls; to bind them takes 3 µs
    try:
        signature_of(task.func).bind(*given, **kwargs)
    except TypeError as error:
        raise InvalidArguments(
            f"{task.module_path}: {error}; it takes {shown(task.func, task.takes_context)}."
        ) from None


@lru_cache(maxsize=1024)
def check_path(function: Callable[..., Any], path: str, alias: str) -> None:
    """
    Raise InvalidTask when no worker could find the task under its path; warn when workers would refuse to look there.

    Once per function: what it depends on does not change while a process lives.
    """
    if len(path) > LONGEST_PATH:
        raise InvalidTask(f"{path:.300} has {len(path)} characters, and a task path may have {LONGEST_PATH}.")
    try:
        found = find_task(path)
    except (ImportError, AttributeError) as error:
        raise InvalidTask(f"No worker could import {path}: {error}.") from error
    if found is None:
        raise InvalidTask(
            f"No worker could find this task: there is no task at {path}, which is the function's path. Define it "
            "with @task at the top level of a module."
        )
    if apps.ready and not is_known_place(path, options_for(alias).task_modules):
        logger.warning(
            "Workers leave jobs of %s alone because it lies in no installed app: add its app to INSTALLED_APPS, or "
            "its module to TASKS[%r]['OPTIONS']['task_modules'].",
            path,
            alias,
        )
