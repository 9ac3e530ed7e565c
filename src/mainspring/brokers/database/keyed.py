"""Jobs with unique keys: what an enqueue, an end and a return have to do because no two live jobs may hold one key."""

from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import IntegrityError, transaction

from mainspring import job as machine
from mainspring.brokers.database.tables import FINISHED, JOB
from mainspring.brokers.uniqueness import OnConflict, decide, key_behind
from mainspring.exceptions import BrokerRefused, BrokerUnavailable, KeyLocked
from mainspring.job import ENDS, LIVE, LOOK_AGAIN, Job, State

if TYPE_CHECKING:
    from mainspring.brokers.database.store import Connection, Store

TRIES = 10  # of an enqueue whose key changes hands between its insert and its look at who holds it
IDLE_ONES = "AND state <> 'running'"
AT_ONCE = 0.1  # seconds that somebody waits for a key who has others to see to


class Found(NamedTuple):
    """Who decides about new jobs: the holders of their keys, and those that wait behind them."""

    holders: dict[str | None, Job]
    waiting: dict[str | None, Job]


# An enqueue.


def push(
    connection: "Connection", store: "Store", jobs: Sequence[Job], on_conflict: OnConflict, once: bool
) -> list[Job]:
    """Insert jobs with different keys, and return for each the job that stands for it."""
    if len(jobs) == 1 and not once and not machine.window_of(jobs[0]) and store.insert_if_free(connection, jobs[0]):
        return list(jobs)
    with store.transaction(connection), connection.cursor() as cursor, store.short_lock_waits(cursor):
        standing = {job.id: job for job in store.standing(connection, [job.id for job in jobs])} if once else {}
        for _ in range(TRIES):
            left = [job for job in jobs if job.id not in standing]
            if not left:
                if once:
                    _take_back_ended(cursor, store, jobs)
                return [standing[job.id] for job in jobs]
            standing |= _stored(cursor, store, left, on_conflict)
    if taken := store.standing(connection, [job.id for job in left]):  # MySQL keeps quiet about it
        raise BrokerRefused(f"There is a job with the id {taken[0].id} already; nothing was stored.")
    raise BrokerUnavailable(f"The key of job {left[0].id} is held by others again and again; nothing was stored.")


def _stored(cursor: Any, store: "Store", jobs: Sequence[Job], on_conflict: OnConflict) -> dict[str, Job]:
    """Return which job stands for each of these, by their ids; without those whose key changes hands meanwhile."""
    holders, waiting = _found(cursor, store, jobs, on_conflict)
    stored = {}
    for job in jobs:
        holder, before = holders.get(job.holds_key), waiting.get(key_behind(job))
        if holder is None:
            continue
        is_new = holder.id == job.id
        stands = decide(job, None if is_new else holder, before, on_conflict, _last_with_window_of(cursor, store, job))
        if is_new and stands.id != job.id:
            cursor.execute(store.delete, [store.listed([job.id])])
        elif stands.state == State.WAITING and before is None:
            store.insert_keyed(cursor, [stands])
            stands = _holders(cursor, store, [stands.holds_key]).get(stands.holds_key, stands)
            if stands.id != job.id:
                continue  # somebody else was faster: once more
        elif stands not in (job, holder, before):
            store.rewrite(cursor, [stands])
        stored[job.id] = stands
    return stored


def _found(cursor: Any, store: "Store", jobs: Sequence[Job], on_conflict: OnConflict) -> Found:
    """Insert jobs whose key nobody holds, and return who does then; what may be changed is locked."""
    # To look first, as an INSERT that meets another would lock that on MySQL, and the end of one that runs would wait.
    holders = _holders(cursor, store, [job.holds_key for job in jobs])
    if free := [job for job in jobs if job.holds_key not in holders]:
        store.insert_keyed(cursor, free)
        holders |= _holders(cursor, store, [job.holds_key for job in free], own={job.id for job in free})
    if on_conflict == OnConflict.REPLACE:
        running = {key: job for key, job in holders.items() if job.state == State.RUNNING}
        idle = _holders(cursor, store, holders.keys() - running.keys(), f"{IDLE_ONES} {store.for_update}")
        holders = running | idle
    may_wait = [job for job in jobs if on_conflict in (OnConflict.REPLACE, OnConflict.AFTER)]
    waiting = _holders(cursor, store, map(key_behind, may_wait), store.for_update) if may_wait else {}
    return Found(holders, waiting)


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


def _take_back_ended(cursor: Any, store: "Store", jobs: Sequence[Job]) -> None:
    """Delete those of the jobs that somebody else had stored, and that had ended, between our look and our insert."""
    ids = store.listed([job.id for job in jobs])
    cursor.execute(f"SELECT id FROM {FINISHED} WHERE id {store.is_in}", [ids])
    if ended := [id for (id,) in cursor.fetchall()]:
        cursor.execute(store.delete, [store.listed(ended)])


# An end, and a return.


def let_go_on(cursor: Any, store: "Store", ended: Iterable[Job]) -> None:
    """Let those go on that waited for jobs which end in this transaction."""
    keyed = [job for job in ended if job.unique_key is not None and job.state in ENDS]
    if not keyed:
        return
    at = max(job.finished_at or 0 for job in keyed)
    # These had the keys until now, so that nobody else can have them before the transaction ends.
    waiting = _holders(cursor, store, set(map(key_behind, keyed)), store.skip_locked)
    if free := _without_holder(cursor, store, waiting.values()):
        store.put_back(cursor, [machine.go_on(job, at) for job in free])
        transaction.on_commit(partial(store.wake, cursor.db), using=cursor.db.alias, robust=True)


def come_back(cursor: Any, store: "Store", jobs: Sequence[Job], at: int) -> set[str]:
    """
    Store jobs, locked by this transaction, that want back the keys which they have given back.

    One whose key another holds, or waits for, ends as superseded. Return the ids of those that are clear.
    """
    keys = [key for job in jobs for key in (job.holds_key, key_behind(job))]
    others = _holders(cursor, store, keys) if jobs else {}
    done, superseded = set(), []
    for job in jobs:
        if job.holds_key in others or key_behind(job) in others:
            superseded.append(machine.supersede(job, at))
        elif _takes_key(cursor, store, job):
            others[job.holds_key] = job
            done.add(job.id)
    store.finish(cursor, superseded)
    return done | {job.id for job in superseded}


def _takes_key(cursor: Any, store: "Store", job: Job) -> bool:
    """Store a job with its key; return False if another has taken that since we looked, or perhaps has."""
    try:
        with transaction.atomic(using=cursor.db.alias), store.short_lock_waits(cursor, AT_ONCE):
            store.put_back(cursor, [job])
    except (IntegrityError, KeyLocked):
        return False
    return True


# A look at those that wait.


def look(connection: "Connection", store: "Store", ids: Sequence[str], now: int) -> None:
    """Let jobs go on that have come to wait for others which are gone, now that all see them."""
    with store.transaction(connection), connection.cursor() as cursor:
        _let_free_ones_go_on(cursor, store, store.lock_idle(cursor, ids), now)


def look_again(cursor: Any, store: "Store", waiting: Sequence[Job], now: int) -> int:
    """Let jobs go on that wait for others which are gone, and look at the rest later; return how many went on."""
    gone_on = _let_free_ones_go_on(cursor, store, waiting, now)
    store.put_back(cursor, [job._replace(due_at=now + LOOK_AGAIN) for job in waiting if job.id not in gone_on])
    return len(gone_on)


def _let_free_ones_go_on(cursor: Any, store: "Store", waiting: Sequence[Job], now: int) -> set[str]:
    free = _without_holder(cursor, store, waiting)
    gone_on = {job.id for job in free if _takes_key(cursor, store, machine.go_on(job, now))}
    if gone_on:
        transaction.on_commit(partial(store.wake, cursor.db), using=cursor.db.alias, robust=True)
    return gone_on


def holders(connection: "Connection", store: "Store", keys: Collection[str]) -> dict[str | None, Job]:
    """Return the live jobs that hold these keys, by their keys."""
    with connection.cursor() as cursor:
        return _holders(cursor, store, keys)


def _without_holder(cursor: Any, store: "Store", waiting: Iterable[Job]) -> list[Job]:
    """Return those of some jobs whose own key nobody holds."""
    jobs = [job for job in waiting if job.state == State.WAITING]
    found = _holders(cursor, store, [machine.key_of(job.unique_key) for job in jobs]) if jobs else {}
    return [job for job in jobs if machine.key_of(job.unique_key) not in found]


def _holders(
    cursor: Any, store: "Store", keys: Iterable[str | None], how: str = "", own: Collection[str] = ()
) -> dict[str | None, Job]:
    """Return which job holds each of these keys, if one does; of two, as an old snapshot shows them, our `own`."""
    listed = store.listed([key for key in keys if key is not None])
    cursor.execute(
        f"SELECT {store.job_columns} FROM {JOB} {store.by_key} WHERE holds_key {store.is_in} {how}", [listed]
    )
    live = [job for job in map(Job._make, cursor.fetchall()) if job.state in LIVE]
    return {job.holds_key: job for job in sorted(live, key=lambda job: job.id in own)}
