"""Jobs with unique keys in Redis: an enqueue decides here and stores there, if all is still as it was told."""

from collections.abc import Callable, Sequence
from typing import Any

from mainspring import job as machine
from mainspring.brokers.redis import scripts
from mainspring.brokers.redis.records import decode, encode, line_of, order_of, place_of
from mainspring.brokers.uniqueness import OnConflict, decide, key_behind
from mainspring.exceptions import BrokerRefused, BrokerUnavailable
from mainspring.job import Job, State

Found = dict[str | None, tuple[bytes, Job]]  # who decides about new jobs, by their keys, with their records
Run = Callable[..., Any]  # runs a script with values, and calls workers

MOST_AT_ONCE = 5000  # they are one script, all or none
TRIES = 100  # of an enqueue whose key changes hands while it decides; each time somebody else gets on


def push(run: Run, jobs: Sequence[Job], on_conflict: OnConflict) -> dict[str, Job]:
    """Store jobs with different keys, and return for each, by its id, the job that stands for it."""
    if len(jobs) > MOST_AT_ONCE:
        raise BrokerRefused(f"{len(jobs)} unique jobs at once; Redis takes up to {MOST_AT_ONCE}. Nothing was stored.")
    found: Found = {}
    for _ in range(TRIES):
        standing = {job.id: _decided(job, found, on_conflict) for job in jobs}
        now_found = _store(run, jobs, list(standing.values()), found) if jobs else None
        if now_found is None:
            return standing
        found = now_found
    raise BrokerUnavailable(f"The key of job {jobs[0].id} changes hands again and again; nothing was stored.")


def _decided(job: Job, found: Found, on_conflict: OnConflict) -> Job:
    holder, waiting, recent = (found.get(key, (b"", None))[1] for key in (job.holds_key, key_behind(job), _ended(job)))
    return decide(job, holder, waiting, on_conflict, recent)


def _store(run: Run, jobs: Sequence[Job], standing: Sequence[Job], found: Found) -> Found | None:
    """Store what stands, if the keys are held by these and nobody else; return who holds them if they are not."""
    keys = [key for job in jobs for key in _keys_of(job)]
    believed = [word for key in keys for word in (key, *_holding(found.get(key)))]
    before = {job.id: (record, job) for record, job in found.values()}
    writes = [job for job in standing if job.id not in before or before[job.id][1] != job]
    values = [word for job in writes for word in _write(job, before.get(job.id))]
    code, id, *answer = run(scripts.KEYED, len(keys), *believed, *values)
    if code == 2:
        raise BrokerRefused(f"There is a job with the id {id.decode()} already; nothing was stored.")
    if code == 1:
        return None
    rows = zip(keys, answer[0][::3], answer[0][1::3], answer[0][2::3], strict=True)
    return {key: (record, decode(id, record, claim)) for key, id, record, claim in rows if record is not None}


def of_outcome(job: Job, at: int) -> tuple[str, ...]:
    """Return what the script SETTLE wants to know of the unique key of a job, at this moment."""
    if job.unique_key is None:
        return ("",)
    ended = machine.supersede(job, at) if machine.may_be_superseded(job) else None
    last = ("", "") if ended is None else (encode(ended), place_of(ended).place)
    return machine.key_of(job.unique_key) or "", job.holds_key or "", job.unique_key, *last


def stand_of(job: Job) -> tuple[str, str, str]:
    """Return the state and the place of a job, and the key that it holds."""
    return *place_of(job), job.holds_key or ""


def _keys_of(job: Job) -> list[str]:
    """Return under which keys stand those who decide about a new job."""
    return [job.holds_key or "", key_behind(job), *([_ended(job)] if machine.window_of(job) else [])]


def _ended(job: Job) -> str:
    """Return under which key the last job stands that has ended with the unique key of this one."""
    return f"={job.unique_key}"


def _holding(holder: tuple[bytes, Job] | None) -> tuple[str, str]:
    """Return the id of who holds a key, and whether it runs."""
    return ("", "") if holder is None else (holder[1].id, "1" if holder[1].state == State.RUNNING else "")


def _write(job: Job, before: tuple[bytes, Job] | None) -> tuple[str | bytes, ...]:
    """Return what the script KEYED wants to know of a job that an enqueue stores, or changes from what was before."""
    old = ("", "", "", "", "") if before is None else (before[0], line_of(before[1]), *stand_of(before[1]))
    return job.id, line_of(job), *old, encode(job), *stand_of(job), order_of(job) if before is None else ""
