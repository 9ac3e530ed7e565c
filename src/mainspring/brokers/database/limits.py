"""Limits in a database: one row for where each stands, and one for what each running job holds of it."""

import json
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from mainspring import job as machine
from mainspring.brokers import admission
from mainspring.brokers.admission import Change, Level, Request, costs_of, left_by
from mainspring.brokers.database import orders
from mainspring.brokers.database.orders import keys_of
from mainspring.brokers.database.tables import HOLD, HOLD_COLUMNS, JOB, LIMIT, LIMIT_COLUMNS
from mainspring.brokers.rates import Rate
from mainspring.job import Job

if TYPE_CHECKING:
    from mainspring.brokers.database.store import Connection, Store

HOLDS = ", ".join(HOLD_COLUMNS)
FOR_TIME = "due_at IS NOT NULL"
ARE_LIMITS = " AND ".join(f"NOT (name >= '{prefix}' AND name < '{prefix[:-1]};')" for prefix in admission.NO_LIMITS)
UNUSED = (
    f"NOT EXISTS (SELECT 1 FROM {HOLD} WHERE limit_name = this.name)"
    f" AND NOT EXISTS (SELECT 1 FROM {JOB} WHERE parked_under = this.name)"
    f" AND NOT EXISTS (SELECT 1 FROM {JOB} WHERE order_key = this.name)"
)
LOOKED_AT = 1000  # unused limits that are looked at in one go whether they can be forgotten
AT_ONCE = 256  # jobs that are put back in line in one go; each end looks again

# Whoever locks jobs and limits locks the limits first, by name, as limits and keys of an order are found in what jobs
# were enqueued with. Two could wait for each other otherwise.


def lock(cursor: Any, store: "Store", jobs: Iterable[Job]) -> None:
    """Lock all limits that some jobs have, and the keys of their orders, before the jobs themselves."""
    limited = [job for job in jobs if machine.asks_for_leave(job)]
    if limited:
        _lock(cursor, store, {name for job in limited for name, _ in costs_of(job)} | keys_of(limited))


def admit(connection: "Connection", store: "Store", requests: Sequence[Request], now: int) -> set[str]:
    """Take for claimed jobs what they need, and park those that may not run now; return the ids of the others."""
    names = {demand.name for request in requests for demand in request.demands}
    keys = keys_of(request.job for request in requests)
    with store.transaction(connection), connection.cursor() as cursor:
        _lock(cursor, store, names | keys)
        cursor.execute(
            f"SELECT id, token FROM {JOB} {store.by_id} WHERE id {store.is_in} AND state = 'running'"
            f" {store.for_update}",
            [store.listed([request.job.id for request in requests])],
        )
        running = set(cursor.fetchall())
        held = [request for request in requests if (request.job.id, request.job.token) in running]
        levels = _levels(cursor, store, names) if names else {}
        heads = orders.heads(cursor, store, keys) if keys else {}
        done = admission.admit(held, levels, now, _awaited(cursor, store, names), heads)
        _write(cursor, store, {name: level for name, level in done.levels.items() if level != levels[name]})
        holds = [(demand.name, each.job.id, demand.cost) for each in done.admitted for demand in each.demands]
        if holds:
            # A worker of another version, or somebody's edit, may have left some of them behind.
            cursor.executemany(f"INSERT INTO {HOLD} ({HOLDS}) VALUES (%s, %s, %s) {store.on_known_hold_update}", holds)
        store.move(cursor, [machine.park(each.job, each.name, each.until) for each in done.refused], now)
        return {request.job.id for request in done.admitted}


def leave(cursor: Any, store: "Store", jobs: Iterable[Job], now: int) -> None:
    """Give back what jobs held that run no more, and let others ask for it; `lock` has locked all of it."""
    limited = [job for job in jobs if job.limits is not None]
    if limited:
        ids = store.listed([job.id for job in limited])
        cursor.execute(f"DELETE FROM {HOLD} WHERE job_id {store.is_in}", [ids])
        names = {name for job in limited for name in left_by(job)}
        _unpark(cursor, store, _levels(cursor, store, names))


def level(connection: "Connection", store: "Store", name: str) -> Level | None:
    with connection.cursor() as cursor:
        return _levels(cursor, store, {name}).get(name)


def change(connection: "Connection", store: "Store", name: str, change: Change, now: int) -> None:
    """Change a limit, and let those ask again who may have room now."""
    with store.transaction(connection), connection.cursor() as cursor:
        _lock(cursor, store, {name})
        levels = _levels(cursor, store, {name})
        changed = {name: change.applied_to(levels[name], now)}
        _write(cursor, store, changed)
        _unpark(cursor, store, changed)
        # The time for which others wait may be another one now; once they have asked, they know.
        while waiting := _parked(cursor, store, name, FOR_TIME):
            store.let_in(cursor, list(map(machine.unpark, waiting)))


def listed(connection: "Connection", store: "Store", after: str, number: int) -> dict[str, Level]:
    with connection.cursor() as cursor:
        names = _names(cursor, after, number, ARE_LIMITS)
        levels = _levels(cursor, store, names) if names else {}
    return {name: levels[name] for name in names if name in levels}


def parked(connection: "Connection", store: "Store", name: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT count(*) FROM {JOB} {store.by_parking} WHERE parked_under = %s AND state = 'parked'", [name]
        )
        return int(cursor.fetchone()[0])


def forget(connection: "Connection", store: "Store", after: str, now: int) -> tuple[int, str]:
    """Delete those of the next limits behind `after` that are as good as new; return how many, and the last name."""
    with store.transaction(connection), connection.cursor() as cursor:
        names = _names(cursor, after, LOOKED_AT, UNUSED, store.skip_locked)
        levels = _levels(cursor, store, names) if names else {}
        idle = [name for name, level in levels.items() if admission.is_idle(level, now)]
        if idle:
            cursor.execute(f"DELETE FROM {LIMIT} WHERE name {store.is_in}", [store.listed(idle)])
        forgotten = sum(not name.startswith(admission.NO_LIMITS) for name in idle)
        return forgotten, names[-1] if len(names) == LOOKED_AT else ""


def _names(cursor: Any, after: str, number: int, which: str, lock: str = "") -> list[str]:
    cursor.execute(
        f"SELECT name FROM {LIMIT} AS this WHERE name > %s AND {which} ORDER BY name LIMIT %s {lock}", [after, number]
    )
    return [name for (name,) in cursor.fetchall()]


def holding(connection: "Connection", name: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT job_id FROM {HOLD} WHERE limit_name = %s ORDER BY job_id", [name])
        return [id for (id,) in cursor.fetchall()]


def _lock(cursor: Any, store: "Store", names: Collection[str]) -> None:
    """Lock limits in one order, made where they are not there yet."""
    if not names:
        return
    select = f"SELECT name FROM {LIMIT} WHERE name {store.is_in} ORDER BY name {store.for_update}"
    cursor.execute(select, [store.listed(names)])
    if missing := set(names) - {name for (name,) in cursor.fetchall()}:
        insert = f"INSERT INTO {LIMIT} (name) VALUES (%s) {store.on_known_name_keep}"
        cursor.executemany(insert, [(name,) for name in sorted(missing)])
        cursor.execute(select, [store.listed(missing)])


def _levels(cursor: Any, store: "Store", names: Collection[str]) -> dict[str, Level]:
    listed = store.listed(names)
    cursor.execute(f"SELECT limit_name, SUM(cost) FROM {HOLD} WHERE limit_name {store.is_in} GROUP BY 1", [listed])
    held = {name: int(cost) for name, cost in cursor.fetchall()}
    cursor.execute(f"SELECT {', '.join(LIMIT_COLUMNS)} FROM {LIMIT} WHERE name {store.is_in}", [listed])
    return {
        name: Level(concurrency, _rate(rate), bool(is_given), held.get(name, 0), _seen(seen), paused_until, promised)
        for name, concurrency, rate, is_given, seen, paused_until, promised in cursor.fetchall()
    }


def _write(cursor: Any, store: "Store", levels: dict[str, Level]) -> None:
    rows = [
        (
            level.concurrency,
            None if level.rate is None else json.dumps(list(_numbers(level.rate))),
            int(level.is_given),
            json.dumps(level.seen),
            level.paused_until,
            level.promised,
            name,
        )
        for name, level in levels.items()
    ]
    if rows:
        changes = ", ".join(f"{name} = %s" for name in LIMIT_COLUMNS[1:])
        cursor.executemany(f"UPDATE {LIMIT} SET {changes} WHERE name = %s", rows)


def _awaited(cursor: Any, store: "Store", names: Iterable[str]) -> set[str]:
    """Return those of the limits under which a job waits for its time."""
    found = set()
    for name in names:
        cursor.execute(
            f"SELECT 1 FROM {JOB} {store.by_parking}"
            f" WHERE parked_under = %s AND state = 'parked' AND {FOR_TIME} LIMIT 1",
            [name],
        )
        if cursor.fetchone():
            found.add(name)
    return found


def _unpark(cursor: Any, store: "Store", levels: dict[str, Level]) -> None:
    """Put those back in line who wait for room under limits, locked by this transaction, that have some."""
    unparked: list[Job] = []
    for name, level in sorted(levels.items()):
        parked = _parked(cursor, store, name, f"NOT ({FOR_TIME})")
        unparked += map(machine.unpark, admission.next_in(level, parked, name))
    store.let_in(cursor, unparked)


def _parked(cursor: Any, store: "Store", name: str, which: str) -> list[Job]:
    """Return the first of those that are parked under a limit, locked."""
    cursor.execute(
        f"SELECT {store.job_columns} FROM {JOB} {store.by_parking} WHERE parked_under = %s AND state = 'parked'"
        f" AND {which} ORDER BY place LIMIT {AT_ONCE} {store.skip_locked}",
        [name],
    )
    return list(map(Job._make, cursor.fetchall()))


def _numbers(rate: Rate) -> tuple[int, int, int, bool]:
    return rate.count, rate.period, rate.burst, rate.is_sliding


def _rate(text: str | None) -> Rate | None:
    return None if text is None else Rate(*json.loads(text))


def _seen(text: str) -> tuple[tuple[int, int], ...]:
    return tuple((number, used) for number, used in json.loads(text))
