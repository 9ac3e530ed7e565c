"""The signals of a job's start and end: sent to all who receive them, and made for nobody where nobody does."""

import logging
import time
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

from django.conf import settings
from django.dispatch import Signal
from django.utils.log import RequireDebugFalse, RequireDebugTrue

from mainspring.compat import log_task_finished, log_task_started, task_finished, task_started, tasks_logger
from mainspring.results import Result

logger = logging.getLogger("mainspring.worker")

# Each signal has a receiver of Django's own, which only writes to the log. With the default LOGGING and DEBUG False no
# handler takes what it says of a success, but to say it took 22 of the 95 µs that a job cost that does nothing.
RECEIVERS: dict[Signal, Callable[..., None]] = {task_started: log_task_started, task_finished: log_task_finished}

KNOWN = 0.05  # seconds

_taken_over: dict[Signal, Callable[..., None]] = {}


def log_what_is_heard() -> None:
    """Call Django's own receivers only where a handler takes what they write, from now on in this process."""
    for signal, receiver in RECEIVERS.items():
        if signal.disconnect(receiver):
            _taken_over[signal] = receiver


def is_heard(signal: Signal, sender: type, level: int = logging.INFO) -> bool:
    """Would anybody notice this signal, or what is logged of it at this level?"""
    return signal.has_listeners(sender) or (signal in _taken_over and _levels.is_logged(level))


def send(signal: Signal, sender: type, result: Result) -> None:
    """Send a signal; what a receiver raises is logged."""
    if receiver := _taken_over.get(signal):
        try:
            receiver(sender=sender, task_result=result)
        except Exception:  # of a handler of the project's
            logger.exception("What Django logs of a job could not be logged.")
    signal.send_robust(sender=sender, task_result=result)


class LogLevels:
    """Remembers for a moment which levels of a logger reach anybody: to find out takes 3 µs, and is asked per job."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._known: dict[int, bool] = {}
        self._until = 0.0

    def is_logged(self, level: int) -> bool:
        """Do as the function of this name, as it was at most KNOWN seconds ago."""
        now = time.monotonic()
        if now >= self._until:
            self._known, self._until = {}, now + KNOWN
        known = self._known.get(level)
        if known is None:
            known = self._known[level] = is_logged(self._log, level)
        return known


def is_logged(log: logging.Logger, level: int) -> bool:
    """Does any handler take a record of this logger and level? Where that cannot be known for sure, it does."""
    if not log.isEnabledFor(level):
        return False
    if log.filters or _is_watched(log):
        return True
    has_handlers = False
    place: logging.Logger | None = log
    while place is not None:
        if any(_takes(handler, level) for handler in place.handlers):
            return True
        has_handlers = has_handlers or bool(place.handlers)
        place = place.parent if place.propagate else None
    last = logging.lastResort
    return not has_handlers and last is not None and level >= last.level


def _takes(handler: logging.Handler, level: int) -> bool:
    return level >= handler.level and not any(_turns_away(entry) for entry in handler.filters)


def _turns_away(entry: Any) -> bool:
    kind = type(entry)
    return (kind is RequireDebugTrue and not settings.DEBUG) or (kind is RequireDebugFalse and settings.DEBUG)


def _is_watched(log: logging.Logger) -> bool:
    """Does somebody look at every record, whether a handler takes it or not, as error trackers do?"""
    kind = type(log)
    methods = (kind._log, kind.makeRecord, kind.handle, kind.filter, kind.callHandlers)
    are_pythons_own = all(type(method) is FunctionType and method.__code__ in _OWN for method in methods)
    return not are_pythons_own or logging.getLogRecordFactory() is not logging.LogRecord


def _codes_of(module_file: str) -> frozenset[CodeType]:
    """Return the code of the methods of Logger and Filterer that lie in this file."""
    functions = [*vars(logging.Logger).values(), *vars(logging.Filterer).values()]
    codes = (each.__code__ for each in functions if type(each) is FunctionType)
    return frozenset(code for code in codes if code.co_filename == module_file)


_OWN = _codes_of(logging.getLogger.__code__.co_filename)
_levels = LogLevels(tasks_logger)
