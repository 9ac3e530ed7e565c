"""`manage.py mainspring worker`: run jobs until told to stop."""

import os
import sys
from argparse import ArgumentParser, BooleanOptionalAction
from collections.abc import Collection
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from mainspring.backends import MainspringBackend
from mainspring.commands.backends import add_backend_argument, backend_of
from mainspring.commands.errors import named_errors
from mainspring.conf import did_you_mean
from mainspring.worker.plan import Plan
from mainspring.worker.supervisor import describe

HELP = "Run jobs until told to stop (TERM or Ctrl-C; a second one ends at once)."
EXAMPLES = """\
examples:
  manage.py mainspring worker                        one process, 4 threads, 100 async jobs at once
  manage.py mainspring worker --processes auto       one process for each core
  manage.py mainspring worker --queues mail,default --threads 8
  manage.py mainspring worker --exclude slow
  manage.py mainspring worker --drain                run what is ready, then end (for cron and CI)
  manage.py mainspring worker --max-memory 500MB     replace a process that grows beyond that
  python -m mainspring worker --reload               start again at every change, also when the code is broken now

signals:
  TERM, INT  stop: claim no more, let what runs finish within shutdown_timeout, give the rest back; a second one
             ends at once
  HUP        replace every process by one with the code as it is now; each goes on until another is ready

exit codes:
  0    stopped: everything was finished or given back
  1    could not start, or the database belongs to another site; the message says why
  2    wrong usage
  130  a second TERM or Ctrl-C ended it at once; what was running has been given back
"""

# Flags that stand for an option of the same name; conf.py checks their values.
FLAGS = {
    "--processes": ("N", "how many processes: a number, auto (one a core) or cores*N"),
    "--threads": ("N", "sync jobs at once in each process"),
    "--async": ("N", "async jobs at once in each process"),
    "--timeout": ("SECONDS", "how long a job may run, unless its task or queue says otherwise"),
    "--max-jobs": ("N", "replace a process after it has claimed N jobs"),
    "--max-memory": ("SIZE", "replace a process that uses more, such as 300MB"),
    "--max-memory-percent": ("N", "replace the largest process when the machine uses more of its memory"),
    "--max-idle": ("SECONDS", "end when nothing was to be done for so long"),
    "--shutdown-timeout": ("SECONDS", "how long running jobs may go on after TERM"),
    "--rescue-after": ("SECONDS", "how soon the jobs of a silent worker run again"),
}


def add_arguments(parser: ArgumentParser) -> None:
    add_backend_argument(parser)
    parser.add_argument("--queues", metavar="A,B", help="serve these queues only (default: all of TASKS' QUEUES)")
    parser.add_argument("--exclude", metavar="A,B", help="serve all queues but these")
    for flag, (metavar, text) in FLAGS.items():
        parser.add_argument(flag, metavar=metavar, dest=_option(flag), help=f"{text} (default: the option's)")
    parser.add_argument("--drain", action="store_true", default=None, help="end when no job is ready")
    parser.add_argument(
        "--reload",
        action=BooleanOptionalAction,
        help="start the processes again when the code changes (default: where DEBUG is True)",
    )


def handle(
    command: BaseCommand, *, backend: str | None, queues: str | None, exclude: str | None, **flags: Any
) -> None:
    with named_errors():
        plan = _plan(backend_of(backend), queues, exclude, flags)
    command.stdout.write(f"Mainspring: backend {plan.backend!r} serves {describe(plan)}.")
    command.stdout.flush()
    connections.close_all()
    _become_supervisor(plan)


def _plan(backend: MainspringBackend, queues: str | None, exclude: str | None, flags: dict[str, Any]) -> Plan:
    if not backend.broker.is_shared:
        raise CommandError(
            f"TASKS[{backend.alias!r}] keeps its jobs in the memory of the process that enqueues them, where no "
            "worker can reach them. Use mainspring.backends.DatabaseBackend, or mainspring.testing.drain() in tests."
        )
    given: dict[str, Any] = {
        _option(flag): _number_or_text(flags[_option(flag)]) for flag in FLAGS if flags[_option(flag)] is not None
    }
    given |= {"serve": _names(queues)} if queues else {}
    given |= {"exclude": _names(exclude)} if exclude else {}
    given |= {"drain": True} if flags["drain"] else {}
    given |= {"reload": flags["reload"]} if flags["reload"] is not None else {}
    plan = Plan(backend=backend.alias, database=backend.database, flags=given)
    options = plan.options
    if options.exclude and plan.queues is None:
        raise CommandError(
            f"TASKS[{backend.alias!r}]['QUEUES'] is empty, which allows every name, so there is no list to exclude "
            "from; name the queues to serve with --queues, or list all of them in QUEUES."
        )
    for name in [*(options.serve or ()), *options.exclude]:
        _check_queue(name, backend.queues, backend.alias)
    if plan.queues == []:
        raise CommandError("Every queue is excluded, so no queue is left to serve; leave a name out of --exclude.")
    return plan


def _check_queue(name: str, queues: Collection[str], alias: str) -> None:
    if queues and name not in queues:
        raise CommandError(f"TASKS[{alias!r}]['QUEUES'] has no queue {name!r}{did_you_mean(name, queues)}")


def _become_supervisor(plan: Plan) -> None:
    """Replace this process by the supervisor, which keeps its pid but none of the project's apps."""
    if "DJANGO_SETTINGS_MODULE" not in os.environ:
        raise CommandError("The worker starts further processes; they find the settings by DJANGO_SETTINGS_MODULE.")
    path = [os.path.abspath(entry or ".") for entry in sys.path[:1]]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*path, *filter(None, [os.environ.get("PYTHONPATH")])])}
    sys.stdout.flush()
    sys.stderr.flush()
    program = [sys.executable, "-m", "mainspring.worker.supervisor", plan.to_json()]
    os.execve(sys.executable, program, environment)


def _option(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _number_or_text(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
