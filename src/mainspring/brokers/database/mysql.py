"""MariaDB and MySQL: a claim is one short transaction, since UPDATE returns no rows."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import transaction

from mainspring import job as machine
from mainspring.brokers.database.store import Connection, Span, Store, _jobs
from mainspring.brokers.database.tables import JOB, WORKER
from mainspring.job import Job


class MySQL(Store):
    quote = "`"
    bigint = "signed"
    is_in = "IN %s"
    not_in = "NOT IN %s"
    for_update = "FOR UPDATE"
    skip_locked = "FOR UPDATE SKIP LOCKED"
    on_known_id_keep = f"ON DUPLICATE KEY UPDATE id = {JOB}.id"  # INSERT IGNORE would hide every other error
    on_known_worker_update = (
        f"ON DUPLICATE KEY UPDATE beat = {WORKER}.beat + 1, beat_at = VALUES(beat_at), facts = VALUES(facts)"
    )

    def listed(self, values: Collection[str]) -> Any:
        return tuple(values) or ("",)  # no name is empty, and `IN ()` is an error

    @contextmanager
    def transaction(self, connection: Connection) -> Iterator[None]:
        """Lock only the rows that a statement finds: REPEATABLE READ would lock the gaps between them too."""
        connection.ensure_connection()
        if not connection.in_atomic_block and connection.isolation_level != "read committed":
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        with transaction.atomic(using=connection.alias):
            yield

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
        pick = (
            f"SELECT {self.job_columns} FROM {JOB} FORCE INDEX (mainspring_job_rank)"
            " WHERE queue_name = %s AND `rank` >= %s AND `rank` < %s AND state = 'ready'"
            f" AND task_path {self.not_in} ORDER BY `rank` LIMIT %s {self.skip_locked}"
        )
        take = f"UPDATE {JOB} SET state = 'running', token = %s, worker_id = %s, last_attempted_at = %s WHERE id IN %s"
        skipped = self.listed(skip_tasks)
        with self.transaction(connection), connection.cursor() as cursor:
            jobs: list[Job] = []
            for span in spans:
                cursor.execute(pick, [*span, skipped, limit])
                jobs += _jobs(cursor)
            jobs = sorted(jobs, key=lambda job: job.rank or 0)[:limit]
            if jobs:
                cursor.execute(take, [token, worker_id, at, tuple(job.id for job in jobs)])
        return [machine.claim(job, worker_id, token, at) for job in jobs]

    def moment(self, connection: Connection) -> int:
        with connection.cursor() as cursor:
            # UNIX_TIMESTAMP(NOW(6)) would be an hour off, for an hour, when the session's time zone leaves summer time.
            cursor.execute("SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))")
            return int(cursor.fetchone()[0])
