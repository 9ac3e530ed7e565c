"""Uniqueness: which calls of a task count as the same, for how long, and what a second enqueue does."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from inspect import BoundArguments
from typing import Any

from mainspring.brokers.uniqueness import OnConflict
from mainspring.clock import SECOND
from mainspring.compat import normalize_json
from mainspring.durations import to_seconds
from mainspring.exceptions import InvalidArguments
from mainspring.job import UNTIL_FINISH, UNTIL_START

UNTIL = (UNTIL_START, UNTIL_FINISH)
LONGEST_WINDOW = 365 * 86_400.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Unique:
    """
    Keeps two jobs of one task from being there at once.

    `by` says which calls are the same: those with the same arguments, defaults included (None), with the same values
    of the arguments of these names, or for which a function of the arguments returns the same. The first is unique
    until it starts (`until="start"`: one may wait while another runs) or until it has ended (`"finish"`), and in the
    latter case with a `window` (seconds, a timedelta or a text such as "10m") for so long from its enqueue at least,
    unless it is pruned before.

    `on_conflict` is what an enqueue does that meets another: "existing" returns that; "replace" gives it the new
    arguments, priority, queue and `run_after` if it waits; "raise" raises NotUnique; "after" stores the new one to run
    once the other has ended. While the other runs, "replace" does as "after" does. Of those that are to run after
    another there is one at the most, and where only the window is still open, it runs when that is over.
    """

    by: str | Sequence[str] | Callable[..., Any] | None = None
    until: str = UNTIL_FINISH
    window: Any = None
    on_conflict: str = OnConflict.EXISTING

    def __post_init__(self) -> None:
        if isinstance(self.by, str):
            object.__setattr__(self, "by", (self.by,))
        elif self.by is not None and not callable(self.by):
            object.__setattr__(self, "by", _names(self.by))
        if self.until not in UNTIL:
            raise ValueError(f"until must be 'start' or 'finish', not {self.until!r:.100}")
        if self.on_conflict not in set(OnConflict):
            choices = ", ".join(repr(str(each)) for each in OnConflict)
            raise ValueError(f"on_conflict must be one of {choices}, not {self.on_conflict!r:.100}")
        object.__setattr__(self, "on_conflict", OnConflict(self.on_conflict))
        if self.window is not None:
            object.__setattr__(self, "window", _window(self.window))
            if self.until == UNTIL_START:
                raise ValueError("a window goes with until='finish' only")

    def key(self, task_path: str, call: BoundArguments) -> str:
        """Return the unique key of a call; raise InvalidArguments where JSON cannot carry what it is made of."""
        text = _encoded(task_path, self._made_of(call))
        digest = blake2b(f"{task_path}\0{text}".encode(), digest_size=16).hexdigest()
        window = "" if self.window is None else f"/{round(self.window * SECOND)}"
        return f"{self.until}{window}:{digest}"

    def _made_of(self, call: BoundArguments) -> Any:
        if self.by is None:
            return call.arguments
        if callable(self.by):
            return self.by(*call.args, **call.kwargs)
        return [call.arguments[name] for name in self.by]


def parse_unique(value: Any) -> Unique | None:
    """Return what the option `unique` of a task means; raise ValueError for what it cannot mean."""
    if value is None or isinstance(value, Unique):
        return value
    if isinstance(value, bool):
        return Unique() if value else None
    raise ValueError(f"expected a Unique, True or None, got {value!r:.100}")


def _names(by: Any) -> tuple[str, ...]:
    names = tuple(by) if isinstance(by, list | tuple | set | frozenset) else ()
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"by must be names of arguments or a function of them, not {by!r:.100}")
    return tuple(sorted(names)) if isinstance(by, set | frozenset) else names  # in one order in every process


def _window(value: Any) -> float:
    try:
        seconds = to_seconds(value)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= LONGEST_WINDOW:
        raise ValueError(f"window must be seconds, a timedelta or a text like '10m', up to a year, not {value!r:.100}")
    return seconds


def _encoded(task_path: str, value: Any) -> str:
    try:
        return json.dumps(normalize_json(value), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArguments(f"{task_path}: no unique key can be made of {value!r:.200}: {error}") from error
