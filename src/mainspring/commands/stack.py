"""`manage.py mainspring stack ID`: where the code of a running job stands."""

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from mainspring.brokers.base import Broker
from mainspring.commands.backends import add_backend_argument, backend_of, shared_backend
from mainspring.commands.errors import named_errors
from mainspring.commands.values import duration, write_json
from mainspring.job import Job, State
from mainspring.worker.questions import STACK

HELP = "Show where the code of a running job stands, without disturbing it."
EXAMPLES = """\
examples:
  manage.py mainspring stack 019a1c2e-7b60-7c3f-8a51-5f0d3c9e2b11
  manage.py mainspring stack 019a1c2e-7b60-7c3f-8a51-5f0d3c9e2b11 --json | jq -r .stack
  manage.py mainspring workers                       shows which jobs run

The question goes to the worker through the store, so this works from any machine. A process whose interpreter is
held by the job cannot answer itself; its supervisor then shows what a handler in C writes.

keys of --json:
  id, task, worker_id, attempt, stack

exit codes:
  0  it is shown
  1  the job does not run now, or its worker did not answer in time
"""

LOOK_EVERY = 0.1
TIMEOUT = 15.0


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="the id of a running job")
    add_backend_argument(parser)
    parser.add_argument(
        "--timeout", type=duration, default=TIMEOUT, metavar="SECONDS", help="how long to wait (default: 15)"
    )
    parser.add_argument("--json", action="store_true", dest="as_json", help="write JSON, for scripts")


def handle(command: BaseCommand, *, id: str, backend: str | None, timeout: float, as_json: bool, **_: Any) -> None:
    with named_errors():
        broker = shared_backend(backend_of(backend)).broker
        job = _running(broker, id)
        stack = _ask(broker, job, timeout)
    if as_json:
        facts = {"id": job.id, "task": job.task_path, "worker_id": job.worker_id, "attempt": job.attempts + 1}
        write_json(command, facts | {"stack": stack})
    else:
        command.stdout.write(f"Job {job.id} of {job.task_path} in worker {job.worker_id}:\n{stack}")


def _running(broker: Broker, id: str) -> Job:
    job = broker.get(id)
    if job is None:
        raise CommandError(f"There is no job {id!r} in TASKS[{broker.alias!r}].")
    if job.state != State.RUNNING:
        raise CommandError(f"Job {id} is {job.state}; only a running job has a stack.")
    return job


def _ask(broker: Broker, job: Job, timeout: float) -> str:
    question, deadline = broker.ask(job.worker_id, STACK, job.id), time.monotonic() + timeout
    while (answer := broker.answer_to(question)) is None:
        if time.monotonic() >= deadline:
            raise CommandError(f"Worker {job.worker_id} has not answered within {timeout:g} s.")
        time.sleep(LOOK_EVERY)
    return answer
