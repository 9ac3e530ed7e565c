"""The state machine: what a job is, the states it can be in, and every legal move between them."""

import json
import os
import secrets
import time
from enum import StrEnum
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

MAX_KEPT = 50  # errors and worker ids kept on a job; the counts are columns of their own

PRIORITY_HIGHEST = 100
# A rank holds priority and time in one signed 64-bit number: 201 priorities above 52 bits of microseconds, which
# last until the year 2112. One column in one index then gives "highest priority first, oldest first".
TIME_BITS = 52
# A job that crashed before runs alone, so that nobody else is blamed for its next crash. Its rank has this bit, above
# all priorities: such jobs stand at the far end of the same index, out of the way of every other claim.
ALONE = 1 << 61

# A unique key says until when no other job may have it, perhaps for how many microseconds from the enqueue on, and
# what it is made of: "start:ab12", "finish/60000000:ab12".
UNTIL_START, UNTIL_FINISH = "start", "finish"
# The waits in which a job with an order key can stand before those that come later.
RETRYING, DEFERRED = "retrying", "deferred"
BEHIND = "+"  # stands before the key that a job holds which waits for the one that runs under it
# Before the names under which jobs are parked that wait for a rank of their own, beside those of other keys.
FAIR = "fair:"
ORDER = "key:"  # before order keys, under which jobs are parked that wait for their turn
LOOK_AGAIN = 4_000_000  # microseconds after which a job that waits is looked at, should nobody have told it to go on


class State(StrEnum):
    """Where a job is in its life. The first five are live, the others are ends."""

    DEFERRED = "deferred"
    READY = "ready"
    PARKED = "parked"
    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DISCARDED = "discarded"
    EXPIRED = "expired"
    QUARANTINED = "quarantined"

    @property
    def is_end(self) -> bool:
        return self in ENDS


IDLE = frozenset({State.DEFERRED, State.READY, State.PARKED, State.WAITING})
LIVE = IDLE | {State.RUNNING}
ENDS = frozenset(State) - LIVE
# Every move that is legal; docs/explanation/state-machine.md draws this table.
MOVES: dict[State, frozenset[State]] = {
    State.DEFERRED: frozenset({State.READY, State.PARKED, State.CANCELLED, State.DISCARDED}),
    State.READY: frozenset(
        {State.RUNNING, State.DEFERRED, State.PARKED, State.CANCELLED, State.DISCARDED, State.EXPIRED}
    ),
    State.PARKED: frozenset({State.READY, State.CANCELLED, State.DISCARDED, State.EXPIRED}),
    State.WAITING: frozenset({State.READY, State.DEFERRED, State.PARKED, State.CANCELLED, State.DISCARDED}),
    State.RUNNING: frozenset({State.READY, State.DEFERRED, State.PARKED}) | ENDS,
} | {end: frozenset() for end in ENDS}


# What only live jobs have.
NOT_OF_ENDED: dict[str, Any] = dict.fromkeys(("rank", "due_at", "holds_key", "parked_under", "place", "blocks"))


class IllegalMove(Exception):
    """A job was asked to make a move that its state does not allow."""


class Job(NamedTuple):
    """
    One stored run of a task, exactly as a broker stores it.

    Times are moments (microseconds since the epoch, UTC). `arguments`, `result`, `errors` and `worker_ids` are JSON
    texts that nobody decodes before they are needed, so one bad row cannot spoil the reading of others. `token` stays
    after a claim has ended: a write repeated because its reply was lost can then be told from one that came too late.
    `max_crashes` None leaves the limit to whoever rescues.

    No two live jobs have the same `holds_key`; `unique_key` is what the job holds, or held until its claim and wants
    again when it comes back. `limits` are the names and costs of what it must have before it runs, a JSON list of
    pairs; while it is parked under one of them, `parked_under`, its rank is kept as `place`.

    Of the jobs with the same `order_key` one runs after the other, each in the turn that it gets when workers first
    see it. `blocks` are the names of the waits in which it keeps its turn, or takes one: "retrying", "deferred".

    One with a `fair_key` is parked until a worker gives it a rank beside jobs of other such keys. It says how many
    microseconds of the line it takes, and under which name it waits: "1000:fair:0:mail:=acme".
    """

    id: str
    state: str
    queue_name: str
    priority: int
    task_path: str
    arguments: str
    enqueued_at: int
    run_after: int | None = None
    rank: int | None = None
    due_at: int | None = None
    token: int | None = None
    worker_id: str = ""
    attempts: int = 0
    crashes: int = 0
    interruptions: int = 0
    max_crashes: int | None = None
    errors: str = "[]"
    worker_ids: str = "[]"
    result: str | None = None
    started_at: int | None = None
    last_attempted_at: int | None = None
    finished_at: int | None = None
    limits: str | None = None
    parked_under: str | None = None
    place: int | None = None
    order_key: str | None = None
    blocks: str | None = None
    fair_key: str | None = None
    unique_key: str | None = None  # the last two: scripts of Redis find them at the end of a record
    holds_key: str | None = None


def new_id() -> str:
    """Return a UUIDv7 (RFC 9562): 48 bits of milliseconds, then random bits."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & (1 << 48) - 1) << 80 | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    # 1.2 µs; by way of uuid.UUID it would take twice as long.
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def new_token() -> int:
    """Return a fresh fencing token: 63 random bits, which fit a signed column, and never 0."""
    return secrets.randbits(63) or 1


def rank_of(priority: int, moment: int, alone: bool = False) -> int:
    """Return the place in the line: lower is sooner, priority before time; jobs that run `alone` have their own."""
    return (ALONE if alone else 0) | (PRIORITY_HIGHEST - priority) << TIME_BITS | moment


def in_line_since(rank: int) -> int:
    """Return the moment in a rank: when the job was enqueued, or fell due if that was later."""
    return rank & (1 << TIME_BITS) - 1


def new_job(
    *,
    task_path: str,
    arguments: str,
    queue_name: str,
    priority: int,
    at: int,
    run_after: int | None = None,
    max_crashes: int | None = None,
    unique_key: str | None = None,
    limits: str | None = None,
    order_key: str | None = None,
    blocks: str | None = None,
    fair_key: str | None = None,
    id: str = "",
) -> Job:
    """Return a job that has just been enqueued: ready, deferred when `run_after` is still to come, or parked."""
    is_due = run_after is None or run_after <= at
    job = Job(
        id=id or new_id(),
        state=State.READY if is_due else State.DEFERRED,
        queue_name=queue_name,
        priority=priority,
        task_path=task_path,
        arguments=arguments,
        enqueued_at=at,
        run_after=run_after,
        rank=rank_of(priority, at) if is_due else None,
        due_at=None if is_due else run_after,
        max_crashes=max_crashes,
        unique_key=unique_key,
        holds_key=key_of(unique_key),
        limits=limits,
        order_key=order_key,
        blocks=blocks,
        fair_key=fair_key,
    )
    return job if fair_key is None or not is_due else _awaiting_rank(job, at)


def key_of(unique_key: str | None) -> str | None:
    """Return what a job holds that has this unique key."""
    return None if unique_key is None else unique_key.partition(":")[2]


def window_of(job: Job) -> int:
    """Return for how many microseconds from its enqueue no other may have the key of this job; 0 without a window."""
    return int((job.unique_key or "").partition(":")[0].partition("/")[2] or 0)


def is_free_from_start(job: Job) -> bool:
    """May another job have the key as soon as this one is claimed?"""
    return job.unique_key is not None and job.unique_key.startswith(f"{UNTIL_START}:")


def may_be_superseded(job: Job) -> bool:
    """Does this job, as a claim of it came out, want its key again, which another may have by now?"""
    return job.state in IDLE and is_free_from_start(job)


def takes_turn(job: Job) -> bool:
    """Does a job of an order that has no turn yet get one, when somebody looks?"""
    waits = job.state in (State.DEFERRED, State.WAITING)
    return job.order_key is not None and job.state in LIVE and (not waits or DEFERRED in (job.blocks or ""))


def turn_since(job: Job) -> int:
    """Return the moment by which jobs of an order get their turns: since when it is in line, or was enqueued."""
    return job.enqueued_at if job.rank is None else in_line_since(job.rank)


def loses_turn(job: Job) -> bool:
    """Does a job of an order, as a claim of it came out, let those go first that come later?"""
    steps_aside = job.state == State.DEFERRED and RETRYING not in (job.blocks or "")
    return job.order_key is not None and (job.state in ENDS or steps_aside)


def asks_for_leave(job: Job) -> bool:
    """Must a claimed job ask whether it may run?"""
    return job.limits is not None or job.order_key is not None


def may_free_others(job: Job) -> bool:
    """May others wait for what becomes of this job, and stand in line once that is stored?"""
    return asks_for_leave(job) or job.unique_key is not None


def is_repeat(job: Job, stored: Job) -> bool:
    """Has this outcome of a claim been stored before, so that the reply to that write was lost?"""
    # The counters tell a repeated retry from one that comes after the job was rescued: both end READY, same token.
    outcome = attrgetter("token", "attempts", "crashes", "interruptions")
    is_same = job.state == stored.state or (may_be_superseded(job) and stored.state == State.DISCARDED)
    return job.token is not None and is_same and outcome(job) == outcome(stored)


def promote(job: Job) -> Job:
    """Make a deferred job ready; it lines up as if it had been enqueued when it fell due."""
    assert job.due_at is not None
    if job.fair_key is not None:
        return _awaiting_rank(_move(job, State.PARKED), job.due_at)
    rank = rank_of(job.priority, job.due_at, alone=job.crashes > 0)
    return _move(job, State.READY, rank=rank, due_at=None)


def go_on(job: Job, now: int) -> Job:
    """Let a job that waited behind another take its key; it lines up as if it had been enqueued now."""
    is_due = job.run_after is None or job.run_after <= now
    if is_due and job.fair_key is not None:
        return _awaiting_rank(_move(job, State.PARKED, holds_key=key_of(job.unique_key)), now)
    return _move(
        job,
        State.READY if is_due else State.DEFERRED,
        rank=rank_of(job.priority, now) if is_due else None,
        due_at=None if is_due else job.run_after,
        holds_key=key_of(job.unique_key),
    )


def _awaiting_rank(job: Job, moment: int) -> Job:
    """Have a job wait to be given a rank among those of other keys; its place says in which order those of its own."""
    name = (job.fair_key or "").partition(":")[2]
    place = rank_of(_sound(job.priority), max(moment, 0))
    return job._replace(state=State.PARKED, parked_under=name, place=place, rank=None, due_at=None)


def awaits_rank(job: Job) -> bool:
    return job.state == State.PARKED and (job.parked_under or "").startswith(FAIR)


def length_of(job: Job) -> int:
    """Return how many microseconds of the line a job with a fair key takes."""
    length = (job.fair_key or "").partition(":")[0]
    return int(length) if length.isdecimal() else 0


def give_rank(job: Job, moment: int) -> Job:
    """Let a job line up at this moment."""
    rank = rank_of(_sound(job.priority), moment, alone=job.crashes > 0)
    return _move(job, State.READY, rank=rank, place=None, parked_under=None)


def _sound(priority: int) -> int:
    """Return a priority that makes a rank, also of a row that somebody else has written."""
    return max(-PRIORITY_HIGHEST, min(priority, PRIORITY_HIGHEST))


def claim(job: Job, worker_id: str, token: int, at: int) -> Job:
    """Hand a ready job to a worker; every later write must carry `token`."""
    holds_key = None if is_free_from_start(job) else job.holds_key
    return _move(job, State.RUNNING, worker_id=worker_id, token=token, last_attempted_at=at, holds_key=holds_key)


def succeed(job: Job, result: str | None, started_at: int, at: int) -> Job:
    return _end(job, State.SUCCEEDED, started_at, at, result=result)


def fail(job: Job, error: dict[str, Any], started_at: int, at: int, state: State = State.FAILED) -> Job:
    """End a running job without success; `error` is what `error_entry` returns."""
    return _end(job, state, started_at, at, errors=_append(job.errors, error))


def retry(job: Job, error: dict[str, Any], started_at: int, at: int, due_at: int) -> Job:
    """Send a running job round again after an error; the attempt counts."""
    is_due = due_at <= at and job.fair_key is None  # who has one waits to be given a rank
    return _idle(
        job,
        State.READY if is_due else State.DEFERRED,
        rank=rank_of(job.priority, max(due_at, 0), alone=job.crashes > 0) if is_due else None,
        due_at=None if is_due else due_at,
        attempts=job.attempts + 1,
        errors=_append(job.errors, error),
        worker_ids=_append(job.worker_ids, job.worker_id),
        started_at=job.started_at or started_at,
        last_attempted_at=started_at,
    )


def park(job: Job, name: str, until: int | None) -> Job:
    """Put a claimed job out of every claim's sight, until a limit has room or this moment; nothing is counted."""
    return release(job)._replace(state=State.PARKED, rank=None, place=job.rank, parked_under=name, due_at=until)


def unpark(job: Job) -> Job:
    """
    Let a parked job line up again where it stood; whoever claims it asks once more whether it may run.

    What it waited for stays with it until then, for there it goes before those who come later.
    """
    return _move(job, State.READY, rank=job.place, place=None, due_at=None)


def postpone(job: Job, due_at: int) -> Job:
    """Put a job that has begun back until this moment, as if it had not; nothing is counted."""
    return release(job)._replace(state=State.DEFERRED, rank=None, due_at=due_at)


def release(job: Job) -> Job:
    """Put a claimed job back in its old place; nothing is counted."""
    was_tried = job.attempts or job.crashes or job.interruptions
    return _idle(job, State.READY, last_attempted_at=job.last_attempted_at if was_tried else None)


def interrupt(job: Job) -> Job:
    """Put back a job that had started and was cut off through no fault of its own."""
    return _idle(job, State.READY, interruptions=job.interruptions + 1)


def crash(job: Job, error: dict[str, Any], at: int, max_crashes: int) -> Job:
    """
    Charge a running job with the death of its worker: it runs again, or is quarantined at crash `max_crashes`.

    From now on it runs alone. With `max_crashes` 0 the first crash is the last: the job runs at most once.
    """
    crashes = job.crashes + 1
    errors = _append(job.errors, error)
    if crashes >= max_crashes:
        started_at = job.last_attempted_at or at
        return _end(job, State.QUARANTINED, started_at, at, errors=errors, crashes=crashes, attempts=job.attempts)
    rank = rank_of(job.priority, in_line_since(job.rank or 0), alone=True)
    return _idle(job, State.READY, rank=rank, crashes=crashes, errors=errors)


def cancel(job: Job, at: int) -> Job:
    """End a job that nobody runs."""
    error = error_entry("mainspring.exceptions.Cancelled", "Cancelled before it ran.", finished_at=at)
    return _move(job, State.CANCELLED, finished_at=at, errors=_append(job.errors, error), **NOT_OF_ENDED)


def supersede(job: Job, at: int) -> Job:
    """
    End a job that cannot come back, because another with its unique key has been enqueued since it was claimed.

    `job` is what it would have become. Its errors and counters stay; it is DISCARDED, for the other does its work.
    """
    text = "Another job with the same unique key was enqueued while this one was claimed, and does its work."
    return _superseded(job, text, at)


def _superseded(job: Job, text: str, at: int, **facts: Any) -> Job:
    error = error_entry("mainspring.exceptions.Superseded", text, finished_at=at, **facts)
    return job._replace(state=State.DISCARDED, finished_at=at, errors=_append(job.errors, error), **NOT_OF_ENDED)


# What an enqueue does that meets a job with the same unique key.


def stand_behind(job: Job) -> Job:
    """Have a new job wait until the one ends that runs under its key."""
    return job._replace(
        state=State.WAITING,
        rank=None,
        place=None,
        parked_under=None,
        due_at=job.enqueued_at + LOOK_AGAIN,
        holds_key=f"{BEHIND}{job.holds_key}",
    )


def leave_out(job: Job, standing: Job, at: int) -> Job:
    """Return a new job as it is kept when another with its key stands for it, and its caller knows it already."""
    text = f"Job {standing.id} with the same unique key was there when this one was sent, and stands for it."
    # Without its key: it would prolong the window.
    return _superseded(job._replace(unique_key=None), text, at, job_id=standing.id)


def put_off(job: Job, until: int) -> Job:
    """Have a new job run at this moment at the earliest."""
    at = max(until, job.run_after or 0)
    return job._replace(state=State.DEFERRED, rank=None, place=None, parked_under=None, run_after=at, due_at=at)


def replace(stored: Job, new: Job) -> Job:
    """Give a stored job that nobody runs what a new one has; it keeps its id, errors, counters and turn."""
    wanted = stored._replace(
        queue_name=new.queue_name,
        priority=new.priority,
        task_path=new.task_path,
        arguments=new.arguments,
        enqueued_at=new.enqueued_at,
        run_after=new.run_after,
        max_crashes=new.max_crashes,
        unique_key=new.unique_key,
        limits=new.limits,
        fair_key=new.fair_key,
    )
    if stored.state == State.WAITING:
        return wanted
    wanted = wanted._replace(parked_under=new.parked_under, place=new.place)
    rank = None if new.rank is None else rank_of(new.priority, in_line_since(new.rank), alone=stored.crashes > 0)
    return wanted._replace(state=new.state, rank=rank, due_at=new.due_at)


def error_entry(exception_class_path: str, traceback: str, **facts: Any) -> dict[str, Any]:
    """Return one line of a job's error history; `facts` are worker, attempt and times."""
    return {"exception_class_path": exception_class_path, "traceback": traceback, **facts}


def decode_list(text: str | None) -> list[Any]:
    """Return a stored JSON list; what is not one reads as empty, so that a damaged row can still be shown."""
    try:
        value = json.loads(text or "[]")
    except (ValueError, TypeError, RecursionError):
        return []
    return value if isinstance(value, list) else []


def _end(job: Job, state: State, started_at: int, at: int, **changes: Any) -> Job:
    changes.setdefault("attempts", job.attempts + 1)
    return _move(
        job,
        state,
        worker_ids=_append(job.worker_ids, job.worker_id),
        started_at=job.started_at or started_at,
        last_attempted_at=started_at,
        finished_at=at,
        **NOT_OF_ENDED,
        **changes,
    )


def _idle(job: Job, state: State, **changes: Any) -> Job:
    return _move(job, state, worker_id="", holds_key=key_of(job.unique_key), parked_under=None, **changes)


def _move(job: Job, state: State, **changes: Any) -> Job:
    if state not in MOVES.get(job.state, ()):  # type: ignore[call-overload] # a State is a text, and hashes like one
        raise IllegalMove(f"Job {job.id} is {job.state}; it cannot become {state}.")
    return job._replace(state=state, **changes)


def _append(text: str, value: Any) -> str:
    if text == "[]":
        return _list_of_one(value) if isinstance(value, str) else json.dumps([value])
    return json.dumps([*decode_list(text), value][-MAX_KEPT:])


@lru_cache(maxsize=16)  # a process writes its own worker id again and again
def _list_of_one(value: str) -> str:
    return json.dumps([value])
