"""How far in line each worker has claimed: among the jobs up to there stands all that it holds."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from django.db.backends.base.base import BaseDatabaseWrapper as Connection

from mainspring.brokers.database.tables import JOB, REACH, REACH_COLUMNS, WORKER
from mainspring.job import TIME_BITS, Job

if TYPE_CHECKING:
    from mainspring.brokers.database.store import Store

HELD_WITHIN = (
    "job.queue_name = reach.queue_name AND job.rank >= reach.low AND job.rank < reach.high"
    " AND job.worker_id = reach.worker_id AND job.state = 'running'"
)
COLUMNS = ", ".join(REACH_COLUMNS)


def note(cursor: Any, store: "Store", worker_id: str, jobs: Sequence[Job]) -> None:
    """Note in the transaction of a claim where what it has taken stands."""
    ends: dict[tuple[str, int], int] = {}
    for job in jobs:
        rank = job.rank or 0
        place = job.queue_name, rank >> TIME_BITS << TIME_BITS
        ends[place] = max(rank + 1, ends.get(place, 0))
    rows = [(worker_id, *place, high) for place, high in sorted(ends.items())]
    cursor.executemany(f"INSERT INTO {REACH} ({COLUMNS}) VALUES (%s, %s, %s, %s) {store.on_known_reach_update}", rows)


def held_by(connection: Connection, store: "Store", worker_ids: Collection[str], limit: int) -> list[Job]:
    held: list[Job] = []
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {COLUMNS} FROM {REACH} WHERE worker_id {store.is_in}", [store.listed(worker_ids)])
        for reach in cursor.fetchall():
            # One by one: in a join MariaDB would walk the whole line.
            cursor.execute(f"SELECT {store.job_columns} {_within(store)} LIMIT %s", [*reach, limit - len(held)])
            held += map(Job._make, cursor.fetchall())
            if len(held) >= limit:
                break
    return held


def strangers(connection: Connection, store: "Store") -> set[str]:
    """Return the workers under which jobs run although nobody knows them."""
    found = set()
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {COLUMNS} FROM {REACH} WHERE worker_id NOT IN (SELECT id FROM {WORKER})")
        for reach in cursor.fetchall():
            cursor.execute(f"SELECT 1 {_within(store)} LIMIT 1", reach)
            if cursor.fetchone():
                found.add(reach[0])
    return found


def forget(cursor: Any, store: "Store", worker_ids: Collection[str]) -> None:
    """
    Forget how far workers have claimed who have gone, in a transaction of the caller's.

    A server may still be ending a claim of a worker that has died. Its reach is locked until then, and stays if there
    is a job within: whoever looks for strangers finds it.
    """
    listed = store.listed(worker_ids)
    cursor.execute(f"SELECT low FROM {REACH} WHERE worker_id {store.is_in} {store.for_update}", [listed])
    cursor.fetchall()
    held = f"SELECT 1 FROM {JOB} AS job {store.by_rank} WHERE {HELD_WITHIN.replace('reach.', f'{REACH}.')}"
    cursor.execute(f"DELETE FROM {REACH} WHERE worker_id {store.is_in} AND NOT EXISTS ({held})", [listed])


def _within(store: "Store") -> str:
    """Return from where to select what is held within a reach, which gives the parameters."""
    rank = store.names(["rank"])
    return (
        f"FROM {JOB} {store.by_rank}"
        f" WHERE worker_id = %s AND queue_name = %s AND {rank} >= %s AND {rank} < %s AND state = 'running'"
    )
