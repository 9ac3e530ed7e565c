"""
The tables as Django sees them: for migrations, the admin and queries of one's own.

The broker writes them in SQL by the names in `brokers/database/tables.py`. Times are moments: microseconds since the
epoch, UTC. Every column that need not be given has a default in the database, so that workers of an older version
can still insert while a deploy is under way.
"""

from typing import Any

from django.core.checks import CheckMessage
from django.db import models


class AnyJob(models.Model):
    """What live and ended jobs have in common."""

    id = models.CharField(primary_key=True, max_length=36)
    state = models.CharField(max_length=12)
    queue_name = models.CharField(max_length=100)
    priority = models.IntegerField()
    task_path = models.CharField(max_length=255)
    arguments = models.TextField()
    enqueued_at = models.BigIntegerField()
    run_after = models.BigIntegerField(null=True)
    token = models.BigIntegerField(null=True)
    worker_id = models.CharField(max_length=64, db_default="")
    attempts = models.IntegerField(db_default=0)
    crashes = models.IntegerField(db_default=0)
    interruptions = models.IntegerField(db_default=0)
    max_crashes = models.IntegerField(null=True)
    errors = models.TextField(db_default="[]")
    worker_ids = models.TextField(db_default="[]")
    result = models.TextField(null=True)
    started_at = models.BigIntegerField(null=True)
    last_attempted_at = models.BigIntegerField(null=True)
    finished_at = models.BigIntegerField(null=True)
    unique_key = models.CharField(max_length=64, null=True)
    limits = models.TextField(null=True)
    order_key = models.CharField(max_length=200, null=True)
    fair_key = models.CharField(max_length=220, null=True)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.task_path} {self.id} ({self.state})"

    @classmethod
    def check(cls, **kwargs: Any) -> list[CheckMessage]:
        # MySQL ignores the condition of an index, which is as well, and whole constraints, which the migration makes.
        return [message for message in super().check(**kwargs) if message.id not in ("models.W036", "models.W037")]


class Job(AnyJob):
    """A live job."""

    # Set while the job is ready or running, so that a claim changes no indexed column (PostgreSQL then updates the
    # row within its page) and the many deferred jobs stay out of the claim's way.
    rank = models.BigIntegerField(null=True)
    due_at = models.BigIntegerField(null=True)
    holds_key = models.CharField(max_length=64, null=True)
    parked_under = models.CharField(max_length=200, null=True)
    place = models.BigIntegerField(null=True)
    blocks = models.CharField(max_length=32, null=True)
    turn = models.BigIntegerField(null=True)

    class Meta:
        db_table = "mainspring_job"
        constraints = [
            # MySQL has no constraints with a condition; the migration makes one without.
            models.UniqueConstraint(
                fields=["holds_key"], condition=models.Q(holds_key__isnull=False), name="mainspring_job_key"
            ),
        ]
        indexes = [
            models.Index(fields=["queue_name", "rank"], name="mainspring_job_rank"),
            # Only jobs that wait for their moment have one.
            models.Index(fields=["due_at"], condition=models.Q(due_at__isnull=False), name="mainspring_job_due"),
            models.Index(
                fields=["parked_under", "place"],
                condition=models.Q(parked_under__isnull=False),
                name="mainspring_job_parked",
            ),
            models.Index(
                fields=["order_key", "turn"], condition=models.Q(order_key__isnull=False), name="mainspring_job_order"
            ),
        ]


class Finished(AnyJob):
    """A job that has ended; rows are added and pruned, never changed."""

    class Meta:
        db_table = "mainspring_finished"
        verbose_name = "finished job"
        indexes = [
            models.Index(fields=["state", "finished_at"], name="mainspring_finished_state"),
            models.Index(
                fields=["unique_key", "enqueued_at"],
                condition=models.Q(unique_key__isnull=False),
                name="mainspring_finished_key",
            ),
        ]


class Outbox(models.Model):
    """A job that waits for its way to another database or store, in the transaction that enqueued it."""

    id = models.CharField(primary_key=True, max_length=36)
    alias = models.CharField(max_length=64)
    job = models.TextField()
    created_at = models.BigIntegerField()

    class Meta:
        db_table = "mainspring_outbox"
        verbose_name_plural = "outbox"

    def __str__(self) -> str:
        return f"{self.id} for {self.alias}"


class Worker(models.Model):
    """A worker process that lives, or has died without saying so."""

    id = models.CharField(primary_key=True, max_length=64)
    beat = models.BigIntegerField(db_default=0)
    started_at = models.BigIntegerField()
    beat_at = models.BigIntegerField()
    facts = models.TextField(db_default="{}")

    class Meta:
        db_table = "mainspring_worker"

    def __str__(self) -> str:
        return self.id


class Reach(models.Model):
    """
    How far a worker has claimed among the jobs of one priority in a queue: what it holds there has ranks from `low` up
    to, not including, `high`.

    So what a dead worker held is found without an index on jobs that each claim would have to change.
    """

    pk = models.CompositePrimaryKey("worker_id", "queue_name", "low")
    worker_id = models.CharField(max_length=64)
    queue_name = models.CharField(max_length=100)
    low = models.BigIntegerField()
    high = models.BigIntegerField()

    class Meta:
        db_table = "mainspring_reach"
        verbose_name_plural = "reaches"

    def __str__(self) -> str:
        return f"{self.worker_id} in {self.queue_name}: {self.low} to {self.high}"


class Limit(models.Model):
    """Where a limit stands; `is_given` says that its numbers were given at run time."""

    name = models.CharField(primary_key=True, max_length=200)
    concurrency = models.IntegerField(null=True)
    rate = models.TextField(null=True)
    is_given = models.IntegerField(db_default=0)
    seen = models.TextField(db_default="[]")
    paused_until = models.BigIntegerField(db_default=0)
    promised = models.BigIntegerField(db_default=0)

    class Meta:
        db_table = "mainspring_limit"

    def __str__(self) -> str:
        return self.name


class Hold(models.Model):
    """What a running job holds of a limit."""

    pk = models.CompositePrimaryKey("limit_name", "job_id")
    limit_name = models.CharField(max_length=200)
    job_id = models.CharField(max_length=36)
    cost = models.IntegerField()

    class Meta:
        db_table = "mainspring_hold"
        indexes = [models.Index(fields=["job_id"], name="mainspring_hold_job")]

    def __str__(self) -> str:
        return f"{self.job_id} of {self.limit_name}"


class Lease(models.Model):
    """A place of a lock or semaphore that somebody holds."""

    pk = models.CompositePrimaryKey("name", "token")
    name = models.CharField(max_length=200)
    token = models.BigIntegerField()
    expires_at = models.BigIntegerField()

    class Meta:
        db_table = "mainspring_lease"

    def __str__(self) -> str:
        return f"{self.name} {self.token}"


class Fence(models.Model):
    """The last token that was given to a holder of a lock or semaphore; a day later the name may be forgotten."""

    name = models.CharField(primary_key=True, max_length=200)
    token = models.BigIntegerField()

    class Meta:
        db_table = "mainspring_fence"
        indexes = [models.Index(fields=["token"], name="mainspring_fence_token")]

    def __str__(self) -> str:
        return f"{self.name} {self.token}"


class Waiter(models.Model):
    """Somebody who waits for the end of a job; without such a row no end is announced."""

    id = models.CharField(primary_key=True, max_length=36)
    job_id = models.CharField(max_length=36)
    expires_at = models.BigIntegerField()

    class Meta:
        db_table = "mainspring_waiter"
        indexes = [models.Index(fields=["job_id"], name="mainspring_waiter_job")]

    def __str__(self) -> str:
        return f"{self.id} for {self.job_id}"


class Installation(models.Model):
    """Whose jobs these are; the one row goes with every copy of the database."""

    id = models.IntegerField(primary_key=True)
    name = models.CharField(max_length=100)
    adopted_at = models.BigIntegerField()

    class Meta:
        db_table = "mainspring_installation"

    def __str__(self) -> str:
        return self.name


class Question(models.Model):
    """What somebody asks of a worker, which finds it with its beat, and the worker's answer."""

    id = models.CharField(primary_key=True, max_length=36)
    worker_id = models.CharField(max_length=64)
    kind = models.CharField(max_length=32)
    body = models.TextField()
    asked_at = models.BigIntegerField()
    answer = models.TextField(null=True)

    class Meta:
        db_table = "mainspring_question"
        indexes = [models.Index(fields=["worker_id"], name="mainspring_question_worker")]

    def __str__(self) -> str:
        return f"{self.kind} for {self.worker_id}"
