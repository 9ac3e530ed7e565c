"""What an enqueue does with a job whose unique key another has: which of the two stands."""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple, NoReturn

from mainspring import job as machine
from mainspring.exceptions import NotUnique
from mainspring.job import BEHIND, Job, State


class OnConflict(StrEnum):
    """
    What happens to a new job whose key another has: leave it out, give the other what it has, raise NotUnique, or let
    it run once the other has ended.

    Only the last two values ever store something beside a job that runs. One that waits already is enough for `AFTER`.
    """

    EXISTING = "existing"
    REPLACE = "replace"
    RAISE = "raise"
    AFTER = "after"

    @property
    def once_sent(self) -> "OnConflict":
        """What happens to a job that is sent later, when nobody is there any more to catch an error."""
        return OnConflict.EXISTING if self == OnConflict.RAISE else self

    def waits_behind(self, holder: Job) -> bool:
        """Shall a new job wait until this one, which has its key, has ended?"""
        return holder.state == State.RUNNING and self in (OnConflict.REPLACE, OnConflict.AFTER)


class Merged(NamedTuple):
    """Jobs with a key each; `number_of` says for each of the jobs that were given which of them stands for it."""

    jobs: list[Job]
    number_of: list[int]


def merged(jobs: Sequence[Job], on_conflict: OnConflict) -> Merged:
    """Return what is left when jobs of one call that have the same key have met each other, the first one first."""
    numbers: dict[str | None, int] = {}
    kept: list[Job] = []
    number_of = []
    for job in jobs:
        number = numbers.setdefault(job.holds_key, len(kept))
        if number == len(kept):
            kept.append(job)
        elif on_conflict == OnConflict.RAISE:
            raise NotUnique(f"{job.task_path}: two of these calls have the same unique key; nothing was stored.")
        elif on_conflict == OnConflict.REPLACE:
            kept[number] = machine.replace(kept[number], job)
        number_of.append(number)
    return Merged(kept, number_of)


def decide(
    job: Job, holder: Job | None, waiting: Job | None, on_conflict: OnConflict, recent: Job | None = None
) -> Job:
    """
    Return which job stands for a new one, as it shall be stored; raise NotUnique.

    `holder` is the live job that holds its key, `waiting` the one that waits behind that, and `recent` the last that
    ended with the same unique key, where there are such jobs.
    """
    if holder is not None and holder.id == job.id:
        return holder  # stored by somebody else who sends the same job
    opens_at = 0 if recent is None else recent.enqueued_at + machine.window_of(job)
    if opens_at > job.enqueued_at:
        if holder is None and on_conflict in (OnConflict.EXISTING, OnConflict.RAISE):
            holder = recent
        else:
            job = machine.put_off(job, opens_at)
    if holder is None:
        return job
    if on_conflict == OnConflict.RAISE:
        refuse(job, holder)
    if on_conflict.waits_behind(holder) and waiting is None:
        return machine.stand_behind(job)
    if on_conflict == OnConflict.REPLACE:
        return machine.replace(waiting or holder, job)  # the one of them that runs last
    return waiting if waiting is not None and on_conflict == OnConflict.AFTER else holder


def key_behind(job: Job) -> str:
    """Return the key of whoever waits behind the job that holds the key of this one."""
    return f"{BEHIND}{machine.key_of(job.unique_key)}"


def refuse(job: Job, holder: Job) -> NoReturn:
    """Raise NotUnique."""
    raise NotUnique(
        f"{job.task_path}: job {holder.id} has the same unique key and is {holder.state}; nothing was stored.",
        holder.id,
    )
