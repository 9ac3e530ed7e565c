"""Asking whether claimed jobs may run: for what they need of limits, and for their turn."""

from collections.abc import Sequence
from inspect import BoundArguments

from mainspring.brokers.admission import Request, costs_of
from mainspring.brokers.base import Broker
from mainspring.conf import Options
from mainspring.exceptions import InvalidArguments
from mainspring.flow.limits import demands, of_queue
from mainspring.job import Job, asks_for_leave
from mainspring.payload import decode_arguments
from mainspring.signatures import bound
from mainspring.tasks import Task
from mainspring.worker.known_tasks import KnownTasks


def admitted(broker: Broker, options: Options, tasks: KnownTasks, jobs: Sequence[Job]) -> Sequence[Job]:
    """Return those of some claimed jobs that may run now; the others have been parked."""
    asking = [job for job in jobs if asks_for_leave(job)]
    if not asking:
        return jobs
    ids = broker.admit([_request(job, tasks.find(job.task_path), options) for job in asking])
    parked = {job.id for job in asking} - ids
    return [job for job in jobs if job.id not in parked]


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
