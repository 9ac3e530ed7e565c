"""What is checked of a call before it is stored: that it fits the function, and that a worker will find the task."""

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from inspect import Parameter, Signature, signature
from typing import Any

from django.apps import apps

from mainspring.compat import AnyTask, InvalidTask
from mainspring.conf import options_for
from mainspring.exceptions import InvalidArguments
from mainspring.tasks import find_task, is_known_place

logger = logging.getLogger("mainspring")

LONGEST_PATH = 255  # characters, the width of its column


def check_signature(task: AnyTask, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raise InvalidArguments unless the task's function can be called like this."""
    given = (None, *args) if task.takes_context else args
    if not kwargs and len(given) in _numbers_of_arguments(task.func):
        return  # nearly all calls; to bind them takes 3 µs
    try:
        _signature(task.func).bind(*given, **kwargs)
    except TypeError as error:
        raise InvalidArguments(f"{task.module_path}: {error}; it takes {_shown(task)}.") from None


def _shown(task: AnyTask) -> str:
    """Return what callers give this task, such as `(a, b=1)`."""
    parameters = list(_signature(task.func).parameters.values())[int(task.takes_context) :]
    return f"{Signature([parameter.replace(annotation=Parameter.empty) for parameter in parameters])!s:.300}"


@lru_cache(maxsize=1024)
def _numbers_of_arguments(function: Callable[..., Any]) -> range:
    """Return how many positional arguments, without any keyword, suffice for a function."""
    parameters = _signature(function).parameters.values()
    by_place = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    if any(each.kind == each.KEYWORD_ONLY and each.default is each.empty for each in parameters):
        return range(0)
    needed = sum(each.default is each.empty for each in by_place)
    takes_any_number = any(each.kind == each.VAR_POSITIONAL for each in parameters)
    return range(needed, sys.maxsize if takes_any_number else len(by_place) + 1)


@lru_cache(maxsize=1024)
def _signature(function: Callable[..., Any]) -> Signature:
    # A decorator around the function may give it arguments of its own, so what it wraps says nothing.
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        return signature(function, follow_wrapped=False, annotation_format=Format.FORWARDREF)
    return signature(function, follow_wrapped=False)


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
