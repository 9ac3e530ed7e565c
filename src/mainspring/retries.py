"""Whether a job runs again after an error, and how long it waits before it does."""

import random as randomness
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

from mainspring.durations import to_seconds
from mainspring.exceptions import Retry, TimeLimitExceeded

if TYPE_CHECKING:
    from mainspring.conf import Options

Kind = Literal["exponential", "linear", "fixed"]
KINDS: tuple[str, ...] = get_args(Kind)

# A delay that a task asks for may be computed, and a moment in the year 10000 cannot be shown as a date.
LONGEST = 36_500 * 86_400.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """
    How long to wait before each next attempt.

    "exponential" waits `base`, then `factor` times as long each time; "linear" waits `base`, twice `base`, three
    times `base`; "fixed" waits `base` each time. No delay is longer than `cap`. `jitter` is the part of each delay
    that is left to chance, so that jobs which failed together do not come back together: with 0.1 a job waits 90 to
    100 % of its delay. `base` and `cap` are seconds, a timedelta, or a text such as "10m".
    """

    kind: Kind = "exponential"
    base: Any = 2.0
    factor: float = 2.0
    cap: Any = 3600.0
    jitter: float = 0.1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"Backoff kind: expected one of {', '.join(KINDS)}, got {self.kind!r:.100}")
        for name, low, high in (("factor", 1, 1000), ("jitter", 0, 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise ValueError(f"Backoff {name}: expected a number from {low} to {high}, got {value!r:.100}")
        object.__setattr__(self, "base", _delay_of(self.base))
        object.__setattr__(self, "cap", _delay_of(self.cap))

    def delay(self, attempt: int, random: Callable[[], float] = randomness.random) -> float:
        """Return the seconds to wait after attempt number `attempt`, which counts from 1."""
        longest: float = min(self._growth(attempt) * self.base, self.cap)
        return longest * (1 - self.jitter * random())

    def _growth(self, attempt: int) -> float:
        if self.kind == "fixed":
            return 1.0
        if self.kind == "linear":
            return float(attempt)
        try:
            return float(self.factor) ** (attempt - 1)
        except OverflowError:
            return 1e100  # times any base but 0 this is above any cap, and times 0 it is not NaN as infinity were


# What `parse_backoff` returns: a callable gets the number of the attempt and its exception, and may say None: no more.
Policy = Backoff | tuple[float, ...] | Callable[[int, BaseException], Any]


class Retryable(Protocol):
    """What a task says about its retries; None leaves it to the options."""

    @property
    def max_attempts(self) -> int | None: ...
    @property
    def backoff(self) -> Any: ...
    @property
    def retry_on(self) -> tuple[type[BaseException], ...] | None: ...
    @property
    def give_up_on(self) -> tuple[type[BaseException], ...]: ...


def retry_delay(
    task: Retryable,
    options: "Options",
    attempt: int,
    exception: BaseException,
    random: Callable[[], float] = randomness.random,
) -> float | None:
    """
    Return in how many seconds a job runs again whose attempt number `attempt` raised `exception`; None: it has failed.

    An error is retried while attempts are left (the task's `max_attempts`, else the option's), unless the task gives
    up on it; `give_up_on` goes before `retry_on`, which is every Exception when not given. A task that raises Retry
    knows what it wants: only its own `max_attempts` limits that.
    """
    policy = options.backoff if task.backoff is None else parse_backoff(task.backoff)
    if isinstance(exception, Retry):
        if task.max_attempts is not None and attempt >= task.max_attempts:
            return None
        if exception.delay is not None:
            return _clamped(to_seconds(exception.delay))
        return delay_before(policy, attempt, exception, random)
    max_attempts = options.max_attempts if task.max_attempts is None else task.max_attempts
    if attempt >= max_attempts or isinstance(exception, task.give_up_on):
        return None
    # SystemExit and its like are no Exception: whoever wants them retried names them.
    if not isinstance(exception, (Exception, TimeLimitExceeded) if task.retry_on is None else task.retry_on):
        return None
    return delay_before(policy, attempt, exception, random)


def delay_before(
    policy: Policy, attempt: int, exception: BaseException, random: Callable[[], float] = randomness.random
) -> float | None:
    """Return the seconds to wait after attempt number `attempt` (from 1), or None when the policy says: no more."""
    if isinstance(policy, Backoff):
        return policy.delay(attempt, random)
    if isinstance(policy, tuple):
        return policy[min(attempt, len(policy)) - 1]
    delay = policy(attempt, exception)
    return None if delay is None else _clamped(to_seconds(delay))


def parse_backoff(value: object) -> Policy:
    """
    Return a backoff as a policy; raise ValueError for what is none.

    It is the name of a kind of Backoff, a Backoff, one duration (always the same), a list of durations (the last one
    repeats), or a function that gets the number of the attempt and the exception and returns a duration, or None to
    give up.
    """
    if isinstance(value, Backoff):
        return value
    if isinstance(value, str) and value in KINDS:
        return Backoff(value)  # type: ignore[arg-type] # it is one of the kinds
    if isinstance(value, list | tuple):
        if not value:
            raise ValueError("the list of delays is empty")
        return tuple(_delay_of(delay) for delay in value)
    if callable(value):
        if iscoroutinefunction(value):
            raise ValueError("a backoff cannot be an async function")
        return value
    return (_delay_of(value),)


def parse_exceptions(value: object) -> tuple[type[BaseException], ...]:
    """Return one exception class, or several of them, as a tuple; raise ValueError for anything else."""
    classes = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value,)
    for cls in classes:
        if not (isinstance(cls, type) and issubclass(cls, BaseException)):
            raise ValueError(f"expected exception classes, got {cls!r:.100}")
    return classes


def _delay_of(value: object) -> float:
    seconds = to_seconds(value)
    if not 0 <= seconds <= LONGEST:
        raise ValueError(f"expected a delay from 0 to {LONGEST:,.0f} seconds, got {value!r:.100}")
    return seconds


def _clamped(seconds: float) -> float:
    """Keep a computed delay usable: a moment that has passed means now."""
    return min(max(seconds, 0.0), LONGEST)
