"""Asking whether claimed jobs may run: for what they need of limits, and for their turn."""

from collections.abc import Sequence
from inspect import BoundArguments
from typing import NamedTuple

from mainspring.brokers.admission import Request, costs_of
from mainspring.brokers.base import Broker
from mainspring.conf import Options
from mainspring.exceptions import BrokerUnavailable, InvalidArguments
from mainspring.flow.limits import demands, of_queue
from mainspring.job import ENDS, Job, State, asks_for_leave, is_free_from_start
from mainspring.payload import decode_arguments
from mainspring.signatures import bound
from mainspring.tasks import Task
from mainspring.worker.known_tasks import KnownTasks


class Admitted(NamedTuple):
    """
    What came of some claimed jobs: those that may run now, those that could not be parked yet, and those that ended.

    Of those that cannot be asked for, `broken` has the reason too.
    """

    may_run: Sequence[Job]
    left: Sequence[Job] = ()
    ended: Sequence[Job] = ()
    broken: Sequence[tuple[Job, Exception]] = ()


def admitted(broker: Broker, options: Options, tasks: KnownTasks, jobs: Sequence[Job]) -> Admitted:
    """Ask whether claimed jobs may run now; the others are parked. Raise BrokerUnavailable."""
    asking = [job for job in jobs if asks_for_leave(job)]
    if not asking:
        return Admitted(jobs)
    ids, broken = _ask(broker, [_request(job, tasks.find(job.task_path), options) for job in asking])
    refused = {job.id: job for job in asking if job.id not in ids}
    # One that is parked wants its unique key again: another may have it by now, or nobody can tell yet.
    stored = [broker.get(id) for id, job in refused.items() if is_free_from_start(job) and id not in broken]
    return Admitted(
        may_run=[job for job in jobs if job.id not in refused],
        left=[job for job in stored if job and job.state == State.RUNNING and job.token == refused[job.id].token],
        ended=[job for job in stored if job and job.state in ENDS],
        broken=[(refused[id], reason) for id, reason in broken.items()],
    )


def _ask(broker: Broker, requests: Sequence[Request]) -> tuple[set[str], dict[str, Exception]]:
    """Return the ids of the jobs that may run, and of those that cannot be asked for, with the reasons."""
    try:
        return broker.admit(requests), {}
    except BrokerUnavailable:
        raise
    except Exception as error:  # of one of them, by whatever stands in the store: the others are asked for without it
        if len(requests) == 1:
            return set(), {requests[0].job.id: error}
    ids: set[str] = set()
    broken: dict[str, Exception] = {}
    for request in requests:
        more_ids, more_broken = _ask(broker, [request])
        ids |= more_ids
        broken |= more_broken
    return ids, broken


def _request(job: Job, task: Task | None, options: Options) -> Request:
    # A task that is gone declares none, and fails when it runs.
    limits = (*(() if task is None else task.all_limits), *of_queue(job.queue_name, options.queue_settings))
    return Request(job, demands(limits, costs_of(job), None if task is None else _call(job, task)))


def _call(job: Job, task: Task) -> BoundArguments | None:
    """Return the arguments of a job; None where they do not fit the task any more, which fails when it runs."""
    try:
        args, kwargs = decode_arguments(job.arguments)
        return bound(task.func, task.takes_context, args, kwargs)
    except (InvalidArguments, TypeError):
        return None
