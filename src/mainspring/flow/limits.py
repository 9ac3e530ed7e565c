"""Limits: how many jobs may run at once or start in a stretch of time, whatever task or queue they have."""

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from hashlib import blake2b
from inspect import BoundArguments
from typing import Any

from mainspring.brokers.admission import NO_LIMITS, Demand
from mainspring.brokers.rates import Rate, parse_rate
from mainspring.exceptions import InvalidArguments

logger = logging.getLogger("mainspring")

LONGEST_NAME = 200  # characters, the width of its column
OF_A_QUEUE, OF_A_TASK = "queue:", "task:"
MOST = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Limit:
    """
    Lets only so many jobs run at once, or start in a stretch of time, in all workers together.

    `name` is what the limit is known by; every task and queue with a limit of this name shares it. Names of arguments
    in braces make one for each of their values: `Limit("api:{tenant}", rate="100/m")`; `key` may hold them instead.
    `concurrency` is how many run at once, `rate` how many start, as "100/m" or "5/10s": a token bucket of `burst`
    (default: the count), or with `sliding=True` never more than the count in any such stretch. `cost` is how much of
    either one job takes. Each of `concurrency`, `rate` and `cost` may be a function of the arguments, for tiers.
    """

    name: str
    _: KW_ONLY
    concurrency: int | Callable[..., int | None] | None = None
    rate: str | Callable[..., str | None] | None = None
    cost: int | Callable[..., int] = 1
    key: str | None = None
    burst: int | None = None
    sliding: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not 0 < len(self.name) <= LONGEST_NAME:
            raise ValueError(
                f"the name of a limit is a text of 1 to {LONGEST_NAME} characters, not {self.name!r:.100}"
            )
        _refuse_reserved(self.name)
        if self.concurrency is None and self.rate is None:
            raise ValueError(f"limit {self.name!r} needs concurrency=, rate= or both")
        if not callable(self.concurrency) and self.concurrency is not None:
            whole("concurrency", self.concurrency)
        if not callable(self.cost):
            whole("cost", self.cost)
        if self.burst is not None:
            whole("burst", self.burst)
        if not callable(self.rate):
            self._rate_of(self.rate)

    def demand(self, call: BoundArguments) -> Demand:
        """Return what a job with these arguments wants of this limit; raise InvalidArguments where they do not fit."""
        try:
            name = _shortened((self.key or self.name).format_map(call.arguments))
            _refuse_reserved(name)
            cost = self.cost(*call.args, **call.kwargs) if callable(self.cost) else self.cost
            concurrency = self.concurrency
            if callable(concurrency):
                concurrency = concurrency(*call.args, **call.kwargs)
            if concurrency is not None:
                whole("concurrency", concurrency)
            rate = self.rate(*call.args, **call.kwargs) if callable(self.rate) else self.rate
            return Demand(name, whole("cost", cost), concurrency, self._rate_of(rate))
        except Exception as error:  # the functions are the project's
            raise InvalidArguments(
                f"limit {self.name!r} cannot be applied: {type(error).__name__}: {error}"
            ) from error

    def _rate_of(self, rate: str | None) -> Rate | None:
        return None if rate is None else parse_rate(rate, self.burst, self.sliding)


def named(limits: Iterable[Limit], task_path: str, call: BoundArguments) -> str | None:
    """Return what a job of this call has to have, as it is stored; None if that is nothing."""
    try:
        costs: Counter[str] = Counter()  # two can have one name, by what their arguments are
        for demand in (limit.demand(call) for limit in limits):
            costs[demand.name] += demand.cost
    except InvalidArguments as error:
        raise InvalidArguments(f"{task_path}: {error}") from error
    return json.dumps(list(costs.items())) if costs else None


def demands(limits: Iterable[Limit], stored: Iterable[tuple[str, int]], call: BoundArguments | None) -> list[Demand]:
    """
    Return what a stored job wants, with the numbers that the code declares now.

    Of a limit that the code does not declare any more, or whose functions raise, the numbers are those of before.
    """
    declared = {} if call is None else {demand.name: demand for limit in limits if (demand := _demand(limit, call))}
    return [
        declared.get(name, Demand(name, is_known=False))._replace(cost=cost)
        for name, cost in stored
        if name in declared or not name.startswith(OF_A_QUEUE)  # the option has gone, and with it the limit
    ]


def _demand(limit: Limit, call: BoundArguments) -> Demand | None:
    try:
        return limit.demand(call)
    except InvalidArguments as error:
        logger.error("%s", error)
        return None


def _refuse_reserved(name: str) -> None:
    if "\0" in name or any("\ud800" <= character <= "\udfff" for character in name):
        raise ValueError(f"the name of a limit holds what no store can keep: {name!r:.100}")
    if name.startswith(NO_LIMITS):
        raise ValueError(f"the name of a limit cannot begin with {' or '.join(map(repr, NO_LIMITS))}: {name!r:.100}")


def _shortened(name: str) -> str:
    """Return a name that fits its column; two long ones stay different."""
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[:150]}…{blake2b(name.encode(), digest_size=16).hexdigest()}"


def whole(name: str, value: Any) -> int:
    """Return a whole number from 1 on; raise ValueError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MOST:
        raise ValueError(f"{name} must be a whole number from 1 to {MOST:,}, not {value!r:.100}")
    return value


def of_queue(name: str, settings: Mapping[str, Mapping[str, Any]]) -> tuple[Limit, ...]:
    """Return the limit that the option `queues` declares for a queue, if it does."""
    own = settings.get(name)
    if own is None or not own.keys() & {"rate", "concurrency"}:
        return ()
    return (Limit(f"{OF_A_QUEUE}{name}", concurrency=own.get("concurrency"), rate=own.get("rate")),)


def of_task(path: str, rate: str | None, concurrency: int | None) -> tuple[Limit, ...]:
    """Return the limit that a task declares for itself alone, if it does."""
    if rate is None and concurrency is None:
        return ()
    return (Limit(_shortened(f"{OF_A_TASK}{path}"), concurrency=concurrency, rate=rate),)


def parse_limits(value: Any) -> tuple[Limit, ...]:
    """Return the limits of a task: one, or a list of them; raise ValueError for what is none."""
    limits = (value,) if isinstance(value, Limit) else tuple(value) if isinstance(value, Iterable) else (value,)
    if not all(isinstance(limit, Limit) for limit in limits):
        raise ValueError(f"expected a Limit or a list of them, got {value!r:.100}")
    return limits
