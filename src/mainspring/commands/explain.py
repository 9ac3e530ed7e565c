"""`manage.py mainspring explain ID`: why a job does not run."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from mainspring.commands.backends import add_backend_argument, backend_of, shared_backend
from mainspring.commands.errors import named_errors
from mainspring.commands.values import write_json
from mainspring.explain import look

HELP = "Say why a job does not run, or what has become of it."
EXAMPLES = """\
examples:
  manage.py mainspring explain 019a1c2e-7b60-7c3f-8a51-5f0d3c9e2b11
  manage.py mainspring explain 019a1c2e-7b60-7c3f-8a51-5f0d3c9e2b11 --json | jq -r .code

The answer is what the store says now; docs/how-to/flow-control.md lists the codes, and what to do about each.

keys of --json:
  id, state, task, queue     of the job
  code                       one word for why it does not run: no_worker, limit_full, order, ...
  text                       one or two sentences for people
  data                       what stands in them: ids, names, numbers, and times as ISO 8601 in UTC

exit codes:
  0  it is explained
  1  there is no such job, or the store cannot be reached
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="the id of a job")
    add_backend_argument(parser)
    parser.add_argument("--json", action="store_true", dest="as_json", help="write JSON, for scripts")


def handle(command: BaseCommand, *, id: str, backend: str | None, as_json: bool, **_: Any) -> None:
    with named_errors():
        job, explanation = look(shared_backend(backend_of(backend)).broker, id, list(connections))
    if job is None:
        raise CommandError(explanation.text)
    if as_json:
        facts = {"id": job.id, "state": str(job.state), "task": job.task_path, "queue": job.queue_name}
        said = {"code": explanation.code, "text": explanation.text, "data": explanation.data}
        write_json(command, facts | said)
    else:
        command.stdout.write(f"Job {job.id} of {job.task_path} is {job.state}. {explanation}")
