"""Jobs with fair keys in a database: they wait under the names of their keys until they are given ranks."""

import json
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from mainspring import job as machine
from mainspring.brokers import fairness
from mainspring.brokers.database.tables import JOB, LIMIT
from mainspring.brokers.fairness import Line, line_of
from mainspring.job import FAIR, Job, rank_of

if TYPE_CHECKING:
    from mainspring.brokers.database.store import Connection, Store

# Their names lie between these two; they are compared by their bytes, see the migration.
FIRST, BEHIND_ALL = FAIR, FAIR[:-1] + chr(ord(FAIR[-1]) + 1)
AWAIT_RANK = f"parked_under > '{FIRST}' AND parked_under < '{BEHIND_ALL}'"


def line_up(connection: "Connection", store: "Store", after: str, limit: int, now: int) -> tuple[list[Job], str]:
    """Give ranks to jobs of the names behind `after`, then of those before; return them, and the last name."""
    with store.transaction(connection), connection.cursor() as cursor:
        names = _names(cursor, store, after or FIRST, BEHIND_ALL)
        if len(names) < fairness.MOST_NAMES and after:
            names += _names(cursor, store, FIRST, after, or_last=True)
        names = names[: fairness.MOST_NAMES]
        share = fairness.share_of(limit, len(names))
        jobs = [job for name in names for job in _first_of(cursor, store, name, share)]
        lines = set(map(line_of, jobs))
        kept = _kept(cursor, store, {line.name for line in lines} | set(names)) if jobs else {}
        heads = {line: _head_at(cursor, store, line, kept.get(line.name, 0), now) for line in lines}
        lined_up = fairness.lined_up(jobs, heads, kept)
        store.put_back(cursor, lined_up)
        _keep(cursor, store, kept)
        return lined_up, names[-1] if names else ""


def _names(cursor: Any, store: "Store", after: str, before: str, *, or_last: bool = False) -> list[str]:
    """Return names behind one and before another, or up to that, by one jump in the index for each."""
    names: list[str] = []
    last = f"parked_under {'<=' if or_last else '<'} %s"
    while len(names) < fairness.MOST_NAMES:
        cursor.execute(
            f"SELECT parked_under FROM {JOB} {store.by_parking} WHERE parked_under > %s AND {last}"
            " ORDER BY parked_under LIMIT 1",
            [names[-1] if names else after, before],
        )
        found = cursor.fetchone()
        if found is None:
            break
        names.append(found[0])
    return names


def _first_of(cursor: Any, store: "Store", name: str, number: int) -> list[Job]:
    cursor.execute(
        f"SELECT {store.job_columns} FROM {JOB} {store.by_parking} WHERE parked_under = %s AND state = 'parked'"
        f" ORDER BY place LIMIT {number} {store.skip_locked}",
        [name],
    )
    return list(map(Job._make, cursor.fetchall()))


def _head_at(cursor: Any, store: "Store", line: Line, reached: int, now: int) -> int:
    """Return where the first of a line stands, behind what it has reached before, or now where there is none."""
    # From there on: before it lie the remains of jobs that have ended.
    rank = store.names(["rank"])
    cursor.execute(
        f"SELECT {rank} FROM {JOB} {store.by_rank} WHERE queue_name = %s AND {rank} >= %s AND {rank} < %s"
        f" AND state = 'ready' ORDER BY {rank} LIMIT 1",
        [line.queue_name, rank_of(line.priority, reached), rank_of(line.priority - 1, 0)],
    )
    found = cursor.fetchone()
    return now if found is None else machine.in_line_since(found[0])


def _kept(cursor: Any, store: "Store", names: Collection[str]) -> dict[str, int]:
    cursor.execute(f"SELECT name, seen FROM {LIMIT} WHERE name {store.is_in}", [store.listed(names)])
    return {name: pairs[0][0] for name, seen in cursor.fetchall() if (pairs := json.loads(seen))}


def _keep(cursor: Any, store: "Store", kept: dict[str, int]) -> None:
    # As a bucket that is full at this moment, so that it is forgotten like one.
    rows: Iterable[Sequence[Any]] = [(json.dumps([[moment, 0]]), name) for name, moment in sorted(kept.items())]
    if rows:
        insert = f"INSERT INTO {LIMIT} (name) VALUES (%s) {store.on_known_name_keep}"
        cursor.executemany(insert, [(name,) for _, name in rows])
        cursor.executemany(f"UPDATE {LIMIT} SET seen = %s WHERE name = %s", rows)
