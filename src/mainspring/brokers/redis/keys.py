"""The keys of one backend, all in one hash slot, so that a Cluster can serve every script."""

from typing import NamedTuple


class Keys(NamedTuple):
    """
    Every key there is, in the order in which scripts get them; docs/reference/redis.md says what each holds.

    Their number does not depend on queues or tasks: lines of jobs are stretches of one sorted set.
    """

    jobs: str
    claims: str
    ready: str
    alone: str
    deferred: str
    ended: str
    by_id: str
    waiters: str
    workers: str
    questions: str
    answers: str
    site: str
    guard: str
    unique: str
    limits: str
    held: str
    holds: str
    parked: str
    unparked: str
    orders: str
    turns: str
    leases: str
    fences: str

    @classmethod
    def of(cls, prefix: str) -> "Keys":
        return cls(*(f"{{{prefix}}}:{name}" for name in cls._fields))


def wake_channel(prefix: str) -> str:
    """Return the channel on which idle workers hear of jobs."""
    return f"{{{prefix}}}:wake"


def end_channel(prefix: str, job_id: str) -> str:
    """Return the channel on which whoever waits for a job hears of its end; scripts know all of it but the id."""
    return f"{{{prefix}}}:ended:{job_id}"
