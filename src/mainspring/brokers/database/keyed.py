"""Jobs with unique keys: what an enqueue, an end and a return have to do because no two live jobs may hold one key."""

from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, transaction

from mainspring import job as machine
from mainspring.brokers.database.tables import FINISHED, JOB
from mainspring.brokers.uniqueness import OnConflict, decide, key_behind
from mainspring.exceptions import BrokerRefused, BrokerUnavailable
from mainspring.job import ENDS, LIVE, LOOK_AGAIN, Job, State

if TYPE_CHECKING:
    from mainspring.brokers.database.store import Connection, Store

TRIES = 10  # of an enqueue whose key was held when it inserted, and free when it looked by whom


def push(
    connection: "Connection", store: "Store", jobs: Sequence[Job], on_conflict: OnConflict, once: bool
) -> list[Job]:
    """Insert jobs with different keys, and return for each the job that stands for it."""
    if len(jobs) == 1 and _is_plain(jobs[0], once) and store.insert_if_free(connection, jobs[0]):
        return list(jobs)
    with store.transaction(connection), connection.cursor() as cursor, store.short_lock_waits(cursor):
        standing = {job.id: job for job in store.standing(connection, [job.id for job in jobs])} if once else {}
        for _ in range(TRIES):
            left = [job for job in jobs if job.id not in standing]
            if not left:
                _see_to_waiting(cursor, store, standing)
                if once:
                    _take_back_ended(cursor, store, jobs)
                return [standing[job.id] for job in jobs]
            standing |= _stored(cursor, store, left, on_conflict)
    if taken := store.standing(connection, [job.id for job in left]):  # MySQL keeps quiet about it
        raise BrokerRefused(f"There is a job with the id {taken[0].id} already; nothing was stored.")
    raise BrokerUnavailable(f"The key of job {left[0].id} is held by others again and again; nothing was stored.")


def _is_plain(job: Job, once: bool) -> bool:
    """Is everything said once the job has been inserted?"""
    return not machine.window_of(job) and not once


def _take_back_ended(cursor: Any, store: "Store", jobs: Sequence[Job]) -> None:
    """Delete those of the jobs that somebody else had stored and that had ended before we did, since we looked."""
    ids = store.listed([job.id for job in jobs])
    cursor.execute(f"SELECT id FROM {FINISHED} WHERE id {store.is_in}", [ids])
    if ended := [id for (id,) in cursor.fetchall()]:
        cursor.execute(store.delete, [store.listed(ended)])


def _stored(cursor: Any, store: "Store", jobs: Sequence[Job], on_conflict: OnConflict) -> dict[str, Job]:
    """Return which job stands for each of these, by their ids; without those whose key changes hands meanwhile."""
    store.insert_keyed(cursor, jobs)
    found = _holders(cursor, store, [job.holds_key for job in jobs], "")
    if on_conflict == OnConflict.REPLACE:
        # One that runs is not locked: its end would wait for the caller's transaction, and others with it.
        running = {key: job for key, job in found.items() if job.state == State.RUNNING}
        found = running | _holders(cursor, store, found.keys() - running.keys(), store.for_update)
    behind = [key_behind(job) for job in found.values() if on_conflict.waits_behind(job)]
    waiting = _holders(cursor, store, behind, store.for_update) if behind else {}

    stored, met = {}, [(job, found[job.holds_key]) for job in jobs if job.holds_key in found]
    for job, holder in met:
        before, is_new = waiting.get(key_behind(job)), holder.id == job.id
        recent = _last_with_window_of(cursor, store, job)
        stands = decide(job, None if is_new else holder, before, on_conflict, recent)
        if is_new and stands.id != job.id:
            cursor.execute(store.delete, [store.listed([job.id])])
        elif stands.state == State.WAITING and before is None:
            store.insert_keyed(cursor, [stands])
            stands = _holders(cursor, store, [stands.holds_key], "").get(stands.holds_key, stands)
            if stands.id != job.id:
                continue  # somebody else was faster: once more
        elif stands not in (job, holder, before):
            store.rewrite(cursor, [stands])
        stored[job.id] = stands
    return stored


def _last_with_window_of(cursor: Any, store: "Store", job: Job) -> Job | None:
    """Return the last that has ended with the unique key of a job, if the key has a window."""
    # Asked when this job or another holds the key, so that no third can end with it meanwhile.
    if not machine.window_of(job):
        return None
    cursor.execute(
        f"SELECT {store.finished_as_job} FROM {FINISHED} WHERE unique_key = %s ORDER BY enqueued_at DESC LIMIT 1",
        [job.unique_key],
    )
    return next(map(Job._make, cursor.fetchall()), None)


def _see_to_waiting(cursor: Any, store: "Store", standing: dict[str, Job]) -> None:
    """Let those go on at once that have just come to wait, if what they wait for has ended meanwhile."""
    waiting = {job.id: id for id, job in standing.items() if job.state == State.WAITING}
    for job in _without_holder(cursor, store, [standing[id] for id in waiting.values()]):
        on = machine.go_on(job, job.enqueued_at)
        if _goes_on(cursor, store, on):
            standing[waiting[job.id]] = on


def holders(connection: "Connection", store: "Store", keys: Collection[str]) -> dict[str | None, Job]:
    """Return the live jobs that hold these keys, by their keys."""
    with connection.cursor() as cursor:
        return _holders(cursor, store, keys, "")


def let_go_on(cursor: Any, store: "Store", ended: Iterable[Job]) -> None:
    """Let those go on that waited for jobs which end in this transaction."""
    keyed = [job for job in ended if job.unique_key is not None and job.state in ENDS]
    if not keyed:
        return
    at = max(job.finished_at or 0 for job in keyed)
    keys = set(map(key_behind, keyed))
    # These had the keys until now, so that nobody else can have them before the transaction ends.
    waiting = _holders(cursor, store, keys, store.skip_locked)
    free = _without_holder(cursor, store, waiting.values())
    if free:
        store.put_back(cursor, [machine.go_on(job, at) for job in free])
        transaction.on_commit(partial(store.wake, cursor.db), using=cursor.db.alias, robust=True)


def look(connection: "Connection", store: "Store", ids: Sequence[str], now: int) -> None:
    """Look at jobs that wait for others now that their own transaction has committed."""
    with store.transaction(connection), connection.cursor() as cursor:
        if waiting := [job.id for job in store.lock_idle(cursor, ids) if job.state == State.WAITING]:
            look_again(cursor, store, waiting, now)
    store.wake(connection)


def look_again(cursor: Any, store: "Store", ids: Collection[str], now: int) -> None:
    """Let jobs go on that wait for others which are gone, and look at the rest later; all are locked."""
    cursor.execute(f"SELECT {store.job_columns} FROM {JOB} WHERE id {store.is_in}", [store.listed(ids)])
    jobs = [Job._make(row) for row in cursor.fetchall()]
    free = {job.id for job in _without_holder(cursor, store, jobs)}
    store.put_back(cursor, [job._replace(due_at=now + LOOK_AGAIN) for job in jobs if job.id not in free])
    for job in jobs:
        if job.id in free and not _goes_on(cursor, store, machine.go_on(job, now)):
            store.put_back(cursor, [job._replace(due_at=now + LOOK_AGAIN)])


def put_back(cursor: Any, store: "Store", jobs: Sequence[Job]) -> list[Job]:
    """Store jobs, locked by this transaction, that live on and want their keys; return those that could have them."""
    wanted: dict[str | None, Job] = {}
    for job in jobs:
        wanted.setdefault(job.holds_key, job)
    found = _holders(cursor, store, wanted, "")
    free = [job for job in wanted.values() if found.get(job.holds_key, job).id == job.id]
    return [job for job in free if _goes_on(cursor, store, job)]


def _goes_on(cursor: Any, store: "Store", job: Job) -> bool:
    """Store a job with its key; return False if somebody has taken that since we looked."""
    try:
        with transaction.atomic(using=cursor.db.alias):
            store.put_back(cursor, [job])
    except IntegrityError:
        return False
    return True


def _without_holder(cursor: Any, store: "Store", waiting: Iterable[Job]) -> list[Job]:
    """Return those of some jobs whose own key nobody holds."""
    jobs = [job for job in waiting if job.state == State.WAITING]
    found = _holders(cursor, store, [machine.key_of(job.unique_key) for job in jobs], "") if jobs else {}
    return [job for job in jobs if machine.key_of(job.unique_key) not in found]


def _holders(cursor: Any, store: "Store", keys: Iterable[str | None], lock: str) -> dict[str | None, Job]:
    """Return which job holds each of these keys, if one does."""
    listed = store.listed([key for key in keys if key is not None])
    cursor.execute(f"SELECT {store.job_columns} FROM {JOB} WHERE holds_key {store.is_in} {lock}", [listed])
    return {job.holds_key: job for job in map(Job._make, cursor.fetchall()) if job.state in LIVE}
