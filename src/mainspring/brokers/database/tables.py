"""The names of tables and columns; `mainspring.models` describes the same tables to Django."""

from mainspring.job import NOT_OF_ENDED, Job

JOB = "mainspring_job"
FINISHED = "mainspring_finished"
OUTBOX = "mainspring_outbox"
WORKER = "mainspring_worker"
WAITER = "mainspring_waiter"
INSTALLATION = "mainspring_installation"
QUESTION = "mainspring_question"
REACH = "mainspring_reach"
LIMIT = "mainspring_limit"
HOLD = "mainspring_hold"
LEASE = "mainspring_lease"
FENCE = "mainspring_fence"

JOB_COLUMNS = Job._fields
# The others hold whole numbers.
TEXT_COLUMNS = {
    "id", "state", "queue_name", "task_path", "arguments", "worker_id", "errors", "worker_ids", "result", "facts",
    "unique_key", "holds_key", "limits", "parked_under", "order_key", "blocks", "fair_key",
}  # fmt: skip
FINISHED_COLUMNS = tuple(name for name in JOB_COLUMNS if name not in NOT_OF_ENDED)
WORKER_COLUMNS = ("id", "beat", "started_at", "beat_at", "facts")
REACH_COLUMNS = ("worker_id", "queue_name", "low", "high")
LIMIT_COLUMNS = ("name", "concurrency", "rate", "is_given", "seen", "paused_until", "promised")
HOLD_COLUMNS = ("limit_name", "job_id", "cost")
LEASE_COLUMNS = ("name", "token", "expires_at")
FENCE_COLUMNS = ("name", "token")
QUESTION_COLUMNS = ("id", "worker_id", "kind", "body")

# What a claim or its end can change.
MUTABLE_COLUMNS = (
    "state",
    "rank",
    "due_at",
    "worker_id",
    "attempts",
    "crashes",
    "interruptions",
    "errors",
    "worker_ids",
    "result",
    "started_at",
    "last_attempted_at",
    "finished_at",
    "holds_key",
    "parked_under",
    "place",
)
# What an enqueue changes of a job that it replaces, with its place.
REPLACED_COLUMNS = (
    "queue_name", "priority", "task_path", "arguments", "enqueued_at", "run_after", "max_crashes", "unique_key",
    "limits", "fair_key", "state", "rank", "due_at", "parked_under", "place",
)  # fmt: skip
