"""Which of the jobs that were claimed may run now: the rule of limits, the same on every store."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import NamedTuple

from mainspring.brokers.rates import EMPTY, Rate, State, carried, is_spent, take
from mainspring.job import FAIR, ORDER, Job, decode_list

MOST = 1_000_000_000  # that a job can take of a limit


class Demand(NamedTuple):
    """What one job wants of one limit, and how that limit is declared, unless whoever asks knows no declaration."""

    name: str
    cost: int = 1
    concurrency: int | None = None
    rate: Rate | None = None
    is_known: bool = True


class Request(NamedTuple):
    """A claimed job, and all that it needs to run."""

    job: Job
    demands: Sequence[Demand]


@dataclass(frozen=True, slots=True)
class Level:
    """
    Where a limit stands: how much of it is held, what its rate has seen, and until when it is paused.

    `is_given` says that `concurrency` and `rate` were given at run time, and go before what is declared. `promised` is
    the latest moment that a job was told to wait for, because the rate had no room: each gets one of its own, or all
    would come back at once, and whoever comes meanwhile goes behind them.
    """

    concurrency: int | None = None
    rate: Rate | None = None
    is_given: bool = False
    held: int = 0
    seen: State = EMPTY
    paused_until: int = 0
    promised: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """
    What somebody changes of a limit at run time.

    With `is_given` both numbers, None being without limit; with `is_given` False back to what is declared; and the
    moment until which it is paused at least, which 0 ends at once. None leaves it as it is.
    """

    is_given: bool | None = None
    concurrency: int | None = None
    rate: Rate | None = None
    paused_until: int | None = None

    def applied_to(self, level: Level, now: int) -> Level:
        if self.paused_until is not None:
            level = replace(level, paused_until=self.paused_until and max(self.paused_until, level.paused_until))
        if self.is_given is None:
            return level
        # What the code declares is known once the next job asks.
        rate = self.rate if self.is_given else level.rate
        seen = carried(level.rate, rate, level.seen, now)
        return replace(level, is_given=self.is_given, concurrency=self.concurrency, rate=rate, seen=seen, promised=0)


# Jobs wait under names that begin like this for other reasons than a limit: for their turn, or for a rank.
NO_LIMITS = (ORDER, FAIR)


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


def admit(
    requests: Sequence[Request],
    levels: Mapping[str, Level],
    now: int,
    awaited: Collection[str] = (),
    heads: Mapping[str, str] = MappingProxyType({}),
) -> Admission:
    """
    Admit jobs in the order in which they stand in line, each with all that it needs or nothing.

    `levels` are those of all limits that they name, `awaited` are those under which jobs wait for their time, and
    `heads` the ids of the jobs whose turn it is in each order. One that is refused waits for its turn first, and then
    under the limit that lets it wait longest, so that it does not come back for nothing.
    """
    done = Admission(levels={name: _declared(level, name, requests, now) for name, level in levels.items()})
    for name in levels.keys() - awaited:
        done.levels[name] = replace(done.levels[name], promised=0)  # who was promised something has gone
    for request in sorted(requests, key=lambda request: request.job.rank or 0):
        after, refusals = dict(done.levels), []
        key = request.job.order_key
        if key is not None and heads[key] != request.job.id:
            done.refused.append(Refusal(request.job, key, None))
            continue
        for demand in request.demands:
            level, until = after[demand.name], _refused_until(after[demand.name], demand, request.job, now)
            if until is None:
                after[demand.name] = _taken(level, demand, request.job, now)
            else:
                refusals.append(Refusal(request.job, demand.name, until or None))
        if not refusals:
            done.admitted.append(request)
            done.levels = after
            continue
        longest = max(refusals, key=lambda refusal: refusal.until or 0)
        done.refused.append(longest)
        if longest.until is not None:
            level = done.levels[longest.name]
            done.levels[longest.name] = replace(level, promised=max(level.promised, longest.until))
    return done


def next_in(level: Level, parked: Iterable[Job], name: str) -> list[Job]:
    """
    Return which of the jobs that are parked under a limit for room, the first in line first, may ask again.

    Also during a pause, whose end they would not hear of: they wait for its time once they have asked.
    """
    room = math.inf if level.concurrency is None else level.concurrency - level.held
    found: list[Job] = []
    for job in parked:
        room -= dict(costs_of(job)).get(name, 1)
        if room < 0 and (found or not _runs_alone(level)):
            break
        found.append(job)
    return found


def costs_of(job: Job) -> list[tuple[str, int]]:
    """Return the limits of a stored job and what it takes of each; none where that cannot be read."""
    costs: dict[str, int] = {}
    for pair in decode_list(job.limits):
        match pair:
            case [str() as name, int() as cost] if "\0" not in name and 0 < cost <= MOST:
                costs[name] = min(costs.get(name, 0) + cost, MOST)
    return list(costs.items())


def left_by(job: Job) -> list[str]:
    """Return the limits at which others may find room once a claim of this job came out like that."""
    return [name for name, _ in costs_of(job) if name != job.parked_under]


def _declared(level: Level, name: str, requests: Sequence[Request], now: int) -> Level:
    """Return the level of a limit as the code of these jobs declares it, unless somebody has given it another."""
    if level.is_given:
        return level
    declared = (
        demand for request in requests for demand in request.demands if demand.name == name and demand.is_known
    )
    demand = next(declared, None)
    if demand is None:
        return level
    seen = carried(level.rate, demand.rate, level.seen, now)
    return replace(level, concurrency=demand.concurrency, rate=demand.rate, seen=seen)


def _refused_until(level: Level, demand: Demand, job: Job, now: int) -> int | None:
    """Return None if the limit has room for a job, else until when it must wait; 0 is until another gives back."""
    if level.paused_until > now:
        return level.paused_until
    if level.concurrency is not None and level.held + demand.cost > level.concurrency and not _runs_alone(level):
        return 0
    if level.rate is None:
        return None
    behind_others = level.promised + level.rate.time_of(demand.cost)
    if level.promised > now and not _was_promised(job, demand):
        return behind_others
    wait_until = take(level.rate, level.seen, demand.cost, now, _since(level.rate, demand, job, now)).wait_until
    if wait_until is None or _was_promised(job, demand):
        return wait_until
    return max(wait_until, behind_others) if level.promised > now else wait_until


def _runs_alone(level: Level) -> bool:
    """May a job that wants more than there ever is have all of it?"""
    return level.held == 0 and level.concurrency != 0


def is_idle(level: Level, now: int) -> bool:
    """Is a limit that nobody holds or waits for as good as one that nobody has ever asked for?"""
    is_paused = max(level.paused_until, level.promised) > now
    return not level.is_given and not level.held and not is_paused and is_spent(level.seen, level.rate, now)


def _taken(level: Level, demand: Demand, job: Job, now: int) -> Level:
    seen = level.seen
    if level.rate is not None:
        seen = take(level.rate, seen, demand.cost, now, _since(level.rate, demand, job, now)).state
    return replace(level, held=level.held + demand.cost, seen=seen)


def _since(rate: Rate, demand: Demand, job: Job, now: int) -> int | None:
    """Return since when a job could have had what it wants; one that was promised its time may come a little late."""
    return now - rate.time_of(1) if _was_promised(job, demand) else None


def _was_promised(job: Job, demand: Demand) -> bool:
    return job.parked_under == demand.name
