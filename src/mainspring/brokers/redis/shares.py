"""Jobs with fair keys in Redis: they wait under the names of their keys until they are given ranks."""

import json
from collections.abc import Sequence
from typing import NamedTuple

from mainspring import job as machine
from mainspring.brokers import fairness
from mainspring.brokers.fairness import Line, line_of
from mainspring.brokers.redis import scripts
from mainspring.brokers.redis.client import Client
from mainspring.brokers.redis.keys import Keys
from mainspring.brokers.redis.records import decode, in_order
from mainspring.job import Job, rank_of


class LinedUp(NamedTuple):
    """Records with their jobs and what these become, the moments to be kept, and the name that was seen to last."""

    moves: list[tuple[bytes, Job, Job]]
    kept: dict[str, int]
    last: str


def line_up(client: Client, keys: Keys, after: str, limit: int, now: int) -> LinedUp:
    """Give ranks to jobs of the names behind `after`, then of those before."""
    names, ids, records = client.run(scripts.FAIR, after, fairness.MOST_NAMES, limit)
    found = [(record, decode(id, record)) for id, record in zip(ids, records, strict=True)]
    waiting = [(record, job) for record, job in found if machine.awaits_rank(job)]
    lines = sorted({line_of(job) for _, job in waiting})
    kept = _kept(client, keys, [*(line.name for line in lines), *(name.decode() for name in names)])
    heads = _heads(client, lines, kept, now)
    jobs = fairness.lined_up([job for _, job in waiting], heads, kept)
    moves = [(record, before, after) for (record, before), after in zip(waiting, jobs, strict=True)]
    return LinedUp(moves, kept, names[-1].decode() if names else "")


def keep(client: Client, keys: Keys, kept: dict[str, int]) -> None:
    if kept:
        # As a bucket that is full at this moment, so that it is forgotten like one.
        pairs = [word for name, moment in kept.items() for word in (name, _text(moment))]
        client.command("HSET", keys.limits, *pairs)


def _heads(client: Client, lines: Sequence[Line], kept: dict[str, int], now: int) -> dict[Line, int]:
    """Return where the first of each line stands, behind what that has reached before, or now where there is none."""
    wanted = [
        word
        for line in lines
        for word in (
            line.queue_name,
            in_order(rank_of(line.priority, kept.get(line.name, 0))),
            in_order(rank_of(line.priority - 1, 0)),
        )
    ]
    places = client.run(scripts.HEADS, *wanted) if lines else []
    return {
        line: machine.in_line_since(int(place, 16)) if place else now
        for line, place in zip(lines, places, strict=True)
    }


def _kept(client: Client, keys: Keys, names: Sequence[str]) -> dict[str, int]:
    texts = client.command("HMGET", keys.limits, *names) if names else []
    return {name: _moment(text) for name, text in zip(names, texts, strict=True) if text is not None}


def _text(moment: int) -> str:
    return json.dumps([None, None, False, [[moment, 0]], 0, 0])


def _moment(text: bytes) -> int:
    pairs = json.loads(text)[3]
    return int(pairs[0][0]) if pairs else 0
