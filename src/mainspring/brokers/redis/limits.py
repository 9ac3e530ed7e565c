"""Limits in Redis: decided here, and taken there if they still stand as was told."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from mainspring import job as machine
from mainspring.brokers import admission
from mainspring.brokers.admission import Admission, Change, Level, Request
from mainspring.brokers.rates import Rate
from mainspring.brokers.redis import scripts
from mainspring.brokers.redis.client import Client
from mainspring.brokers.redis.keys import Keys
from mainspring.exceptions import BrokerUnavailable
from mainspring.job import Job

LOOKED_AT = 1000  # limits that are looked at in one go whether they can be forgotten
TRIES = 1000  # each time somebody else gets on
Kept = tuple[str, str]  # what is kept of a limit, and how much is held, as they were read


class Asked(NamedTuple):
    """The ids of the jobs that may run, the others as they park, and by their ids how the limit stood that refused."""

    admitted: set[str]
    parked: list[Job]
    believed: dict[str, str]


def admit(client: Client, requests: Sequence[Request], now: int) -> Asked:
    """Take for claimed jobs what they need."""
    names = sorted({demand.name for request in requests for demand in request.demands})
    keys = sorted({request.job.order_key for request in requests if request.job.order_key is not None})
    for _ in range(TRIES):
        kept, levels, awaited, heads = _levels(client, names, keys)
        done = admission.admit(requests, levels, now, awaited, heads)
        if (admitted := _take(client, kept, done)) is not None:
            parked = [machine.park(each.job, each.name, each.until) for each in done.refused]
            stood = {name: json.dumps([level.held, _text(level)]) for name, level in done.levels.items()}
            return Asked(admitted, parked, {each.job.id: stood.get(each.name, "") for each in done.refused})
    raise BrokerUnavailable(f"The limits {', '.join(names)[:200]} change again and again.")


def _take(client: Client, kept: dict[str, Kept], done: Admission) -> set[str] | None:
    limits = [word for name, before in kept.items() for word in (name, *before, _text(done.levels[name]))]
    jobs = [
        word
        for request in done.admitted
        for word in (
            request.job.id,
            str(request.job.token),
            _costs((each.name, each.cost) for each in request.demands),
        )
    ]
    admitted = client.run(scripts.ADMIT, len(kept), *limits, *jobs)
    return None if admitted is None else {id.decode() for id in admitted}


def level(client: Client, name: str) -> Level | None:
    kept, levels, *_ = _levels(client, [name])
    return levels[name] if kept[name] != ("", "0") else None


def change(client: Client, name: str, change: Change, channel: str, now: int) -> None:
    """Change a limit, and let those ask again who may have room now."""
    for _ in range(TRIES):
        kept, levels, *_ = _levels(client, [name])
        changed = change.applied_to(levels[name], now)
        if client.run(scripts.CHANGE, channel, name, kept[name][0], _text(changed)):
            return
    raise BrokerUnavailable(f"The limit {name} changes again and again.")


def listed(client: Client, keys: Keys, after: str, number: int) -> dict[str, Level]:
    names = sorted(name.decode() for name in client.command("HKEYS", keys.limits))
    names = [name for name in names if name > after and not name.startswith(admission.NO_LIMITS)][:number]
    return _levels(client, names).levels


def parked(client: Client, keys: Keys, name: str) -> int:
    return int(client.command("ZLEXCOUNT", keys.parked, f"[{name}\0", b"(" + name.encode() + b"\0\xff"))


def forget(client: Client, keys: Keys, cursor: int, now: int) -> tuple[int, int]:
    """Forget those of the next limits that are as good as new; return how many, and where to go on."""
    cursor, page = client.command("HSCAN", keys.limits, cursor, "COUNT", LOOKED_AT)
    idle = [word for name, text in page.items() if admission.is_idle(_level(text), now) for word in (name, text)]
    return client.run(scripts.FORGET, *idle) if idle else 0, cursor


def holding(client: Client, name: str) -> list[str]:
    return sorted(id.decode() for id in client.run(scripts.HOLDING, name))


class Found(NamedTuple):
    """What is kept of limits, where they stand, under which of them jobs wait for their time, and whose turn it is."""

    kept: dict[str, Kept]
    levels: dict[str, Level]
    awaited: set[str]
    heads: dict[str, str]


def _levels(client: Client, names: Sequence[str], keys: Sequence[str] = ()) -> Found:
    answer, heads = client.run(scripts.LEVELS, len(names), *names, *keys)
    rows = list(zip(names, answer[::3], answer[1::3], answer[2::3], strict=True))
    kept = {name: (text.decode(), held.decode()) for name, text, held, _ in rows}
    levels = {name: replace(_level(text), held=int(held)) for name, (text, held) in kept.items()}
    awaited = {name for name, _, _, is_awaited in rows if is_awaited}
    return Found(kept, levels, awaited, dict(zip(keys, (id.decode() for id in heads), strict=True)))


def _text(level: Level) -> str:
    rate = level.rate and [level.rate.count, level.rate.period, level.rate.burst, level.rate.is_sliding]
    return json.dumps([level.concurrency, rate, level.is_given, level.seen, level.paused_until, level.promised])


def _level(text: str | bytes) -> Level:
    if not text:
        return Level()
    concurrency, rate, is_given, seen, paused_until, promised = json.loads(text)
    pairs = tuple((number, used) for number, used in seen)
    return Level(concurrency, rate and Rate(*rate), is_given, 0, pairs, paused_until, promised)


def _costs(costs: Iterable[tuple[str, int]]) -> str:
    return json.dumps([list(pair) for pair in costs])
