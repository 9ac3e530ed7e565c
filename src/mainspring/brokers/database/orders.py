"""Jobs that run one after the other, by their order key, in a database: each has a turn once somebody has seen it."""

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from mainspring import job as machine
from mainspring.brokers.database.tables import JOB, LIMIT
from mainspring.job import DEFERRED, TIME_BITS, Job, State

if TYPE_CHECKING:
    from mainspring.brokers.database.store import Connection, Store

LAST_MOMENT = (1 << TIME_BITS) - 1
AT_ONCE = 5000  # jobs that get their turn in one statement

# A turn is given under the lock of its key, to all that can be seen then. So the order is that of commits, as far as
# anybody can tell: of two that have come since somebody looked, that which is longer in line goes first.
SEEN = f"turn IS NULL AND (state IN ('ready', 'running', 'parked') OR blocks LIKE '%%{DEFERRED}%%')"


def keys_of(jobs: Iterable[Job]) -> set[str]:
    return {job.order_key for job in jobs if job.order_key is not None}


def heads(cursor: Any, store: "Store", keys: Collection[str]) -> dict[str, str]:
    """Give all jobs of these keys, locked by this transaction, their turns; return whose it is."""
    left = set(keys)
    while left:
        cursor.execute(
            f"SELECT id, order_key FROM {JOB} {store.by_order} WHERE order_key {store.is_in} AND {SEEN}"
            f" ORDER BY order_key, COALESCE({store.names(['rank'])} & {LAST_MOMENT}, enqueued_at), id LIMIT {AT_ONCE}",
            [store.listed(left)],
        )
        new = cursor.fetchall()
        _give_turns(cursor, store, new)
        left = left - {key for _, key in new} if len(new) == AT_ONCE else set()
    return {key: id for key, id in _firsts(cursor, store, keys, "id") if id is not None}


def head(connection: "Connection", store: "Store", key: str) -> str | None:
    """Return whose turn it is, of those that have been given one."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id FROM {JOB} {store.by_order} WHERE order_key = %s AND turn IS NOT NULL ORDER BY turn LIMIT 1",
            [key],
        )
        found = cursor.fetchone()
        return found[0] if found else None


def leave(cursor: Any, store: "Store", jobs: Sequence[Job]) -> None:
    """Take their turns from jobs whose claim came out like that, or that were cancelled, and let the next ask."""
    # One that would come back may have ended instead, as another has its unique key by now.
    leaving = [job for job in jobs if machine.loses_turn(job) or machine.may_be_superseded(job)]
    if not keys_of(leaving):
        return
    if back := [job.id for job in leaving if job.state == State.DEFERRED and machine.loses_turn(job)]:
        cursor.execute(f"UPDATE {JOB} {store.by_id} SET turn = NULL WHERE id {store.is_in}", [store.listed(back)])
    next_ids = [id for _, id in _firsts(cursor, store, keys_of(leaving), "id") if id is not None]
    if not next_ids:
        return
    cursor.execute(
        f"SELECT {store.job_columns} FROM {JOB} {store.by_id} WHERE id {store.is_in} AND state = 'parked'"
        f" AND parked_under = order_key {store.for_update}",
        [store.listed(next_ids)],
    )
    store.let_in(cursor, [machine.unpark(job) for job in map(Job._make, cursor.fetchall())])


def _give_turns(cursor: Any, store: "Store", new: Sequence[tuple[str, str]]) -> None:
    last = {key: turn or 0 for key, turn in _firsts(cursor, store, {key for _, key in new}, "turn", "DESC")}
    rows = []
    for id, key in new:
        last[key] += 1
        rows.append((last[key], id))
    if rows:
        cursor.executemany(f"UPDATE {JOB} {store.by_id} SET turn = %s WHERE id = %s AND turn IS NULL", rows)


def _firsts(
    cursor: Any, store: "Store", keys: Collection[str], column: str, direction: str = ""
) -> list[tuple[str, Any]]:
    """Return a column of the job with the first turn, or the last, of each key; the keys are rows of limits."""
    # One jump in the index for each: to group would walk all that wait.
    cursor.execute(
        f"SELECT name, (SELECT {column} FROM {JOB} {store.by_order} WHERE order_key = name AND turn IS NOT NULL"
        f" ORDER BY turn {direction} LIMIT 1) FROM {LIMIT} WHERE name {store.is_in}",
        [store.listed(keys)],
    )
    return list(cursor.fetchall())
