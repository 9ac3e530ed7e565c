"""SQLite: one writer at a time, so a claim needs no row locks."""

import json
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any

from django.db import transaction

from mainspring.brokers.database.store import Connection, Span, Store, _jobs
from mainspring.brokers.database.tables import JOB
from mainspring.job import Job


class SQLite(Store):
    is_in = "IN (SELECT value FROM json_each(%s))"
    not_in = "NOT IN (SELECT value FROM json_each(%s))"

    def listed(self, values: Collection[str]) -> Any:
        return json.dumps(list(values))

    @contextmanager
    def transaction(self, connection: Connection) -> Iterator[None]:
        """Take the write lock at the start: a reader who begins to write is refused without waiting."""
        if connection.in_atomic_block:
            with transaction.atomic(using=connection.alias):
                yield
            return
        connection.ensure_connection()
        usual = connection.transaction_mode
        connection.transaction_mode = "IMMEDIATE"
        try:
            with transaction.atomic(using=connection.alias):
                connection.transaction_mode = usual
                yield
        finally:
            connection.transaction_mode = usual

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
        picked = _picked(len(spans), self.not_in)
        skipped = self.listed(skip_tasks)
        of_spans = [value for span in spans for value in (*span, skipped, limit)]
        with connection.cursor() as cursor:
            # A look takes no lock, so that idle workers are in nobody's way.
            cursor.execute(picked, [*of_spans, 1])
            if not cursor.fetchall():
                return []
            cursor.execute(
                f"UPDATE {JOB} SET state = 'running', token = %s, worker_id = %s, last_attempted_at = %s"
                f" WHERE rowid IN ({picked}) RETURNING {self.job_columns}",
                [token, worker_id, at, *of_spans, limit],
            )
            return _jobs(cursor)

    def moment(self, connection: Connection) -> int:
        return time.time_ns() // 1000


@cache
def _picked(spans: int, not_in: str) -> str:
    """Return a query for the rows of the jobs first in line over this number of spans."""
    # Only a subquery of its own keeps its ORDER BY and LIMIT in a UNION; each is one walk along the index.
    of_span = (
        f'SELECT * FROM (SELECT rowid, "rank" FROM {JOB} WHERE queue_name = %s AND "rank" >= %s AND "rank" < %s'
        f" AND state = 'ready' AND task_path {not_in} ORDER BY \"rank\" LIMIT %s)"
    )
    return f'SELECT rowid FROM ({" UNION ALL ".join([of_span] * spans)}) ORDER BY "rank" LIMIT %s'
