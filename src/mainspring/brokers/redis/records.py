"""How a job stands in Redis: a record, a line and a place, as docs/reference/redis.md tells other programs."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from mainspring.brokers.admission import costs_of, left_by
from mainspring.exceptions import BrokerRefused
from mainspring.job import ENDS, Job, State, is_free_from_start, loses_turn, takes_turn, turn_since, unpark

VERSION = 1
SEPARATOR = "\0"
TURN = 17  # characters of a turn that has been given
LARGEST = 2**63 - 1  # that a place can say
EXACT = 2**53  # up to here a score of Redis is a whole number

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
# Of the fields behind the id; those with a default may be missing in records of other programs.
_TEXTS = {"state", "queue_name", "task_path", "arguments", "worker_id", "errors", "worker_ids"}
_NUMBERS = {"priority", "enqueued_at", "attempts", "crashes", "interruptions"}
_OPTIONAL_TEXTS = ("result", "unique_key", "holds_key", "limits", "parked_under", "order_key", "blocks", "fair_key")
_FIELDS = Job._fields[1:]
_sound_types: set[tuple[type, ...]] = set()


class Place(NamedTuple):
    """The state of a job, and its place among the jobs of its line in that state."""

    state: str
    place: str


def encode(job: Job) -> str:
    """Return the record of a job, all ASCII: a version, then its fields but the id."""
    return _encode([VERSION, *job[1:]])


def line_of(job: Job) -> str:
    """Return the line of a job, its queue and its task; raise BrokerRefused where a NUL would break it."""
    line = f"{job.queue_name}{SEPARATOR}{job.task_path}{SEPARATOR}"
    if line.count(SEPARATOR) > 2 or SEPARATOR in job.id or SEPARATOR in (job.order_key or ""):
        raise BrokerRefused(f"Job {job.id!r:.100}: no NUL can stand in an id, a queue's name, a task's path or a key.")
    return line


def place_of(job: Job) -> Place:
    """Return where a job belongs; a number that should not be there leads to one of the ends."""
    if job.state == State.READY:
        return Place(job.state, in_order(job.rank))
    if job.state == State.PARKED:
        due_at = "" if job.due_at is None else str(max(-EXACT, min(job.due_at, EXACT)))
        kind = "r" if job.due_at is None else "t"
        return Place(job.state, f"{due_at}{SEPARATOR}{job.parked_under}{SEPARATOR}{kind}{in_order(job.place)}")
    if job.state in (State.DEFERRED, State.WAITING):
        return Place(job.state, str(max(-EXACT, min(job.due_at or 0, EXACT))))
    return Place(job.state, in_order(job.finished_at) if job.state in ENDS else "")


def in_line(job: Job) -> str:
    """Return how a parked job stands in line when it is unparked: its line, its rank, its cost and its record then."""
    ready = unpark(job)
    cost = dict(costs_of(job)).get(job.parked_under or "", 0)
    return SEPARATOR.join([f"{line_of(ready)}{in_order(ready.rank)}", str(cost), encode(ready)])


def order_of(job: Job) -> str:
    """Return what is kept of the order of a new job: its key and whether it is in line for a turn; "" without one."""
    return "" if job.order_key is None else f"{job.order_key}{SEPARATOR}{_turn_of(job)}"


def lost_turn(job: Job) -> str:
    """Return "-" and what is left of the turn of a job whose claim came out like that; "" if that stays."""
    return f"-{_turn_of(job)}" if loses_turn(job) else ""


def _turn_of(job: Job) -> str:
    return f"u{in_order(turn_since(job))[3:]}" if takes_turn(job) else ""


def left_of(job: Job) -> str:
    """Return the limits that a job leaves which runs no more, or never will; "" if it has none."""
    return "" if job.limits is None else json.dumps(left_by(job))


def in_order(number: int | None) -> str:
    """Return a number as sixteen digits that sort as it does."""
    return f"{max(0, min(number or 0, LARGEST)):016x}"


def claim_text(worker_id: str, token: int, at: int) -> str:
    """Return what is kept of a claim beside the record, which stays as it was; its line follows."""
    return f"{token} {at} {worker_id}"


def worker_of(claim: bytes) -> str:
    """Return the id of the worker who has claimed."""
    return _text(claim.partition(b"\0")[0]).split(" ", 2)[-1]


def decode(id: bytes, record: bytes, claim: bytes | None = None, *, line: bytes = b"", state: str = "") -> Job:
    """
    Return a job as it stands, running where there is a claim.

    What is known of its line and state goes before what the record says. A record that nobody can read makes a
    job with the record as its arguments: it can be seen, and fails when it runs.
    """
    job_id = _text(id)
    job = _read(job_id, record) or Job(job_id, State.READY, "", 0, "", _text(record), 0)
    if claim is not None:
        text, _, line = claim.partition(b"\0")
        job = _claimed(job, text)
    if line.count(b"\0") >= 2:
        queue_name, task_path = _text(line).split(SEPARATOR)[-3:-1]
        if (queue_name, task_path) != (job.queue_name, job.task_path):
            job = job._replace(queue_name=queue_name, task_path=task_path)
    return job._replace(state=state) if state and state != job.state else job


def _read(id: str, record: bytes) -> Job | None:
    try:
        values: Any = json.loads(_text(record))
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, list):
        return None
    values = values[1 : 1 + len(_FIELDS)]
    types = tuple(map(type, values))
    if types not in _sound_types:
        if not _are_sound(types):
            return None
        _sound_types.add(types)
    return Job(id, *values)


def _are_sound(types: Sequence[type]) -> bool:
    """Are these the types of a job's fields, as many as must be there?"""
    known = dict(zip(_FIELDS, types, strict=False))
    optional = {name: kind for name, kind in known.items() if name not in _TEXTS | _NUMBERS}
    texts = [optional.pop(name, str) for name in _OPTIONAL_TEXTS]
    return (
        "enqueued_at" in known
        and all(kind is str for name, kind in known.items() if name in _TEXTS)
        and all(kind is int for name, kind in known.items() if name in _NUMBERS)
        and all(kind in (int, type(None)) for kind in optional.values())
        and all(kind in (str, type(None)) for kind in texts)
    )


def _claimed(job: Job, text: bytes) -> Job:
    try:
        token, at, worker_id = _text(text).split(" ", 2)
        job = job._replace(state=State.RUNNING, worker_id=worker_id, token=int(token), last_attempted_at=int(at))
    except ValueError:
        job = job._replace(state=State.RUNNING)
    return job._replace(holds_key=None) if job.holds_key is not None and is_free_from_start(job) else job


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")
