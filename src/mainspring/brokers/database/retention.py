"""Deleting jobs that have ended."""

from collections.abc import Collection, Sequence

from mainspring.brokers.database.store import Connection, Store
from mainspring.brokers.database.tables import FINISHED


def prune(connection: Connection, states: Sequence[str], before: int, limit: int, dry_run: bool) -> int:
    """Delete up to `limit` jobs that ended in these states before `before`, oldest first."""
    of_state = (
        f"SELECT * FROM (SELECT id, finished_at FROM {FINISHED} WHERE state = %s AND finished_at < %s"
        " ORDER BY finished_at LIMIT %s) of_state"
    )
    # One walk along the index for each state; one for all would sort everything that is old enough.
    old = f"SELECT id FROM ({' UNION ALL '.join([of_state] * len(states))}) old ORDER BY finished_at LIMIT %s"
    values = [value for state in states for value in (state, before, limit)] + [limit]
    with connection.cursor() as cursor:
        if dry_run:
            cursor.execute(f"SELECT count(*) FROM ({old}) oldest", values)
            return int(cursor.fetchone()[0])
        # Only inside FROM does MySQL take a LIMIT.
        cursor.execute(f"DELETE FROM {FINISHED} WHERE id IN (SELECT id FROM ({old}) oldest)", values)
        return int(cursor.rowcount)


def delete(connection: Connection, store: Store, ids: Collection[str]) -> int:
    """Delete these jobs, as far as they have ended."""
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {FINISHED} WHERE id {store.is_in}", [store.listed(ids)])
        return int(cursor.rowcount)
