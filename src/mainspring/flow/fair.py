"""Fairness: which jobs share a line as equals, and with what weight."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from inspect import BoundArguments
from typing import Any

from mainspring.exceptions import InvalidArguments
from mainspring.job import FAIR

LENGTH = 1000  # microseconds of the line that a job of weight 1 takes
LIGHTEST, HEAVIEST = 0.001, 1000.0
LONGEST_NAME = 200  # characters, the width of its column
By = str | Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Fair:
    """
    Has jobs of different keys take turns, within their queue and priority, however many there are of each.

    `by` is the name of the argument that is the key, or a function of the arguments. `weight` is how many jobs of the
    key run for each of a key of weight 1, from 0.001 to 1000, or a function of the arguments that returns it.
    """

    by: By
    weight: float | Callable[..., float] = 1.0

    def __post_init__(self) -> None:
        if not callable(self.by) and not (isinstance(self.by, str) and self.by.isidentifier()):
            raise ValueError(f"expected the name of an argument or a function of them, got {self.by!r:.100}")
        if not callable(self.weight):
            _length(self.weight)

    def key(self, task_path: str, queue_name: str, priority: int, call: BoundArguments) -> str:
        """Return the fair key of a call as it is stored; raise InvalidArguments where the arguments make none."""
        try:
            key = self.by(*call.args, **call.kwargs) if callable(self.by) else call.arguments[self.by]
            length = _length(self.weight(*call.args, **call.kwargs) if callable(self.weight) else self.weight)
        except Exception as error:  # the functions are the project's
            raise InvalidArguments(f"{task_path}: fair_by: {type(error).__name__}: {error}") from error
        name = f"{FAIR}{priority}:{queue_name}:={key}"
        if len(name) > LONGEST_NAME:
            name = f"{name[:150]}…{blake2b(name.encode(), digest_size=16).hexdigest()}"
        return f"{length}:{name}"


def parse_fair(value: Any) -> Fair | None:
    """Return what the option `fair_by` of a task means; raise ValueError for what it cannot mean."""
    return value if value is None or isinstance(value, Fair) else Fair(value)


def _length(weight: Any) -> int:
    """Return how many microseconds of the line a job of this weight takes."""
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not LIGHTEST <= weight <= HEAVIEST:
        raise ValueError(f"a weight is a number from {LIGHTEST} to {HEAVIEST:g}, not {weight!r:.100}")
    return round(LENGTH / weight)
