"""Asking for what claimed jobs need of limits before they run."""

from collections.abc import Sequence
from inspect import BoundArguments

from mainspring.brokers.admission import Request, costs_of
from mainspring.brokers.base import Broker
from mainspring.exceptions import InvalidArguments
from mainspring.flow.limits import demands
from mainspring.job import Job
from mainspring.payload import decode_arguments
from mainspring.signatures import bound
from mainspring.tasks import Task
from mainspring.worker.known_tasks import KnownTasks


def admitted(broker: Broker, tasks: KnownTasks, jobs: Sequence[Job]) -> Sequence[Job]:
    """Return those of some claimed jobs that may run now; the others have been parked."""
    limited = [(job, task) for job in jobs if job.limits is not None and (task := tasks.find(job.task_path))]
    if not limited:
        return jobs
    ids = broker.admit([_request(job, task) for job, task in limited])
    parked = {job.id for job, _ in limited} - ids
    return [job for job in jobs if job.id not in parked]


def _request(job: Job, task: Task) -> Request:
    return Request(job, demands(task.limits, costs_of(job), _call(job, task)))


def _call(job: Job, task: Task) -> BoundArguments | None:
    """Return the arguments of a job; None where they do not fit the task any more, which fails when it runs."""
    try:
        args, kwargs = decode_arguments(job.arguments)
        return bound(task.func, task.takes_context, args, kwargs)
    except (InvalidArguments, TypeError):
        return None
