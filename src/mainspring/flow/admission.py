"""Which of the jobs that were claimed may run now: the rule of limits, the same on every store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from mainspring.flow.rates import EMPTY, Rate, State, take
from mainspring.job import Job


class Demand(NamedTuple):
    """What one job wants of one limit, and how that limit is declared."""

    name: str
    cost: int = 1
    concurrency: int | None = None
    rate: Rate | None = None


class Request(NamedTuple):
    """A claimed job, and all that it needs to run."""

    job: Job
    demands: Sequence[Demand]


@dataclass(frozen=True, slots=True)
class Level:
    """
    Where a limit stands: how much of it is held, what its rate has seen, and until when it is paused.

    `given` says that `concurrency` and `rate` were given at run time, and go before what is declared.
    """

    concurrency: int | None = None
    rate: Rate | None = None
    is_given: bool = False
    held: int = 0
    seen: State = EMPTY
    paused_until: int = 0


class Refusal(NamedTuple):
    """A job that may not run now, the limit under which it waits, and until when; None is until there is room."""

    job: Job
    name: str
    until: int | None


@dataclass
class Admission:
    """What came of some requests."""

    admitted: list[Request] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    levels: dict[str, Level] = field(default_factory=dict)


def admit(requests: Sequence[Request], levels: Mapping[str, Level], now: int) -> Admission:
    """
    Admit jobs in the order in which they stand in line, each with all that it needs or nothing.

    `levels` are those of all limits that they name. A job that is refused waits under the limit that lets it wait
    longest, so that it does not come back for nothing.
    """
    done = Admission(levels={name: _declared(level, name, requests) for name, level in levels.items()})
    for request in sorted(requests, key=lambda request: request.job.rank or 0):
        after, refusals = dict(done.levels), []
        for demand in request.demands:
            level, until, may = _asked(after[demand.name], demand, now, request.job.due_at)
            after[demand.name] = level
            if not may:
                refusals.append(Refusal(request.job, demand.name, until))
        if refusals:
            done.refused.append(max(refusals, key=lambda refusal: refusal.until or 0))
        else:
            done.admitted.append(request)
            done.levels = after
    return done


def _declared(level: Level, name: str, requests: Sequence[Request]) -> Level:
    """Return the level of a limit as the code of these jobs declares it, unless somebody has given it another."""
    if level.is_given:
        return level
    declared = (demand for request in requests for demand in request.demands if demand.name == name)
    demand = next(declared, None)
    return level if demand is None else replace(level, concurrency=demand.concurrency, rate=demand.rate)


def _asked(level: Level, demand: Demand, now: int, since: int | None) -> tuple[Level, int | None, bool]:
    """Return the level once the demand has been met, or the same, until when to wait, and whether it is met."""
    if level.paused_until > now:
        return level, level.paused_until, False
    if level.concurrency is not None and level.held + demand.cost > level.concurrency:
        return level, None, False
    seen = level.seen
    if level.rate is not None:
        taken = take(level.rate, seen, demand.cost, now, since)
        if taken.wait_until is not None:
            return level, taken.wait_until, False
        seen = taken.state
    return replace(level, held=level.held + demand.cost, seen=seen), None, True
