"""PostgreSQL: a claim is one statement that passes over what others have locked."""

from collections.abc import Collection, Sequence
from typing import Any

from mainspring.brokers.database.store import Connection, Span, Store, _jobs, _values
from mainspring.brokers.database.tables import FINISHED, FINISHED_COLUMNS, JOB, JOB_COLUMNS, MUTABLE_COLUMNS
from mainspring.job import ENDS, LIVE, Job

# The fence keeps the planner from running the locking query once per row of the update. Each span is one walk along
# the index; `queue_name = ANY(...) ORDER BY rank` would sort the backlog.
CLAIM = f"""
    WITH picked AS MATERIALIZED (
        SELECT first.id
        FROM unnest(%s::varchar[], %s::bigint[], %s::bigint[]) AS span (queue_name, low, high)
        CROSS JOIN LATERAL (
            SELECT id, rank FROM {JOB}
            WHERE queue_name = span.queue_name AND rank >= span.low AND rank < span.high
                AND state = 'ready' AND task_path <> ALL(%s::varchar[])
            ORDER BY rank LIMIT %s
            FOR UPDATE SKIP LOCKED
        ) AS first
        ORDER BY first.rank LIMIT %s
    )
    UPDATE {JOB} AS job SET state = 'running', token = %s, worker_id = %s, last_attempted_at = %s
    FROM picked WHERE job.id = picked.id
    RETURNING {", ".join(f"job.{name}" for name in JOB_COLUMNS)}
"""

NUMBERS = {
    "priority", "enqueued_at", "run_after", "rank", "due_at", "token", "attempts", "crashes", "interruptions",
    "max_crashes", "started_at", "last_attempted_at", "finished_at",
}  # fmt: skip


def _rows(columns: Sequence[str]) -> str:
    """Return a table of rows given column by column."""
    arrays = ", ".join("%s::bigint[]" if name in NUMBERS else "%s::text[]" for name in columns)
    return f"unnest({arrays}) AS outcome ({', '.join(columns)})"


INSERT = f"INSERT INTO {JOB} ({', '.join(JOB_COLUMNS)}) SELECT * FROM {_rows(JOB_COLUMNS)}"

OUTCOME_COLUMNS = ("id", "token", *MUTABLE_COLUMNS)
HELD = "job.id = outcome.id AND job.token = outcome.token AND job.state = 'running'"
FINISH = f"""
    WITH gone AS (
        DELETE FROM {JOB} AS job USING {_rows(OUTCOME_COLUMNS)} WHERE {HELD}
        RETURNING {", ".join(f"{'outcome' if name in MUTABLE_COLUMNS else 'job'}.{name}" for name in FINISHED_COLUMNS)}
    )
    INSERT INTO {FINISHED} ({", ".join(FINISHED_COLUMNS)}) SELECT * FROM gone RETURNING id
"""
PUT_BACK = f"""
    UPDATE {JOB} AS job SET {", ".join(f"{name} = outcome.{name}" for name in MUTABLE_COLUMNS)}
    FROM {_rows(OUTCOME_COLUMNS)} WHERE {HELD} RETURNING job.id
"""


class PostgreSQL(Store):
    is_in = "= ANY(%s)"
    not_in = "<> ALL(%s)"
    for_update = "FOR UPDATE"
    skip_locked = "FOR UPDATE SKIP LOCKED"

    def listed(self, values: Collection[str]) -> Any:
        return list(values)

    def insert_many(self, cursor: Any, jobs: Sequence[Job], on_conflict: str = "") -> None:
        for start in range(0, len(jobs), 1000):
            cursor.execute(f"{INSERT} {on_conflict}", _by_column(jobs[start : start + 1000], JOB_COLUMNS))

    def claim(
        self,
        connection: Connection,
        spans: Sequence[Span],
        limit: int,
        skip_tasks: Collection[str],
        worker_id: str,
        token: int,
        at: int,
    ) -> list[Job]:
        by_column = [list(column) for column in zip(*spans, strict=True)]
        with connection.cursor() as cursor:
            cursor.execute(CLAIM, [*by_column, list(skip_tasks), limit, limit, token, worker_id, at])
            return _jobs(cursor)

    def settle(self, connection: Connection, jobs: Sequence[Job]) -> set[str]:
        ended = [job for job in jobs if job.state in ENDS]
        back = [job for job in jobs if job.state in LIVE]
        with self.transaction(connection), connection.cursor() as cursor:
            return _settle(cursor, FINISH, ended) | _settle(cursor, PUT_BACK, back)

    def moment(self, connection: Connection) -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
            return int(cursor.fetchone()[0])


def _settle(cursor: Any, statement: str, jobs: Sequence[Job]) -> set[str]:
    if not jobs:
        return set()
    cursor.execute(statement, _by_column(jobs, OUTCOME_COLUMNS))
    return {id for (id,) in cursor.fetchall()}


def _by_column(jobs: Sequence[Job], columns: Sequence[str]) -> list[list[Any]]:
    return [list(column) for column in zip(*[_values(job, columns) for job in jobs], strict=True)]
