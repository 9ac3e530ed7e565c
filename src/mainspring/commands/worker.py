"""`manage.py mainspring worker`: run jobs until told to stop."""

import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, BooleanOptionalAction
from collections.abc import Collection
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from mainspring.backends import MainspringBackend
from mainspring.commands.backends import add_backend_argument, backend_of
from mainspring.commands.errors import named_errors
from mainspring.conf import check_value, did_you_mean
from mainspring.exceptions import InvalidOptions
from mainspring.worker.plan import Plan
from mainspring.worker.program import become, hold_signals

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
    parser.add_argument(
        "--queues",
        dest="serve",
        type=_names,
        metavar="A,B",
        help="serve these queues only (default: all of TASKS' QUEUES)",
    )
    parser.add_argument("--exclude", type=_names, metavar="A,B", help="serve all queues but these")
    for flag, (metavar, text) in FLAGS.items():
        name = _option(flag)
        parser.add_argument(
            flag, type=partial(_value, name), metavar=metavar, dest=name, help=f"{text} (default: the option's)"
        )
    parser.add_argument("--drain", action="store_true", default=None, help="end when no job is ready")
    parser.add_argument(
        "--reload",
        action=BooleanOptionalAction,
        help="start the processes again when the code changes (default: where DEBUG is True)",
    )


def handle(command: BaseCommand, *, backend: str | None, **flags: Any) -> None:
    with named_errors():
        plan = _plan(backend_of(backend), flags)
    hold_signals()  # whoever reads the next line may send one
    command.stdout.write(f"Starting a worker of backend {plan.backend!r}. Ctrl-C stops it, a second one at once.")
    command.stdout.flush()
    connections.close_all()
    _become_supervisor(plan)


def _plan(backend: MainspringBackend, flags: dict[str, Any]) -> Plan:
    if not backend.broker.is_shared:
        raise CommandError(
            f"TASKS[{backend.alias!r}] keeps its jobs in the memory of the process that enqueues them, where no "
            "worker can reach them. Use mainspring.backends.DatabaseBackend, or mainspring.testing.drain() in tests."
        )
    names = ["serve", "exclude", "drain", "reload", *map(_option, FLAGS)]
    given = {name: flags[name] for name in names if flags[name] is not None}
    plan = Plan(backend=backend.alias, database=backend.database, flags=given)
    _check_queues(plan, backend.queues)
    return plan


def _check_queues(plan: Plan, known: Collection[str]) -> None:
    """Raise CommandError where the options of a plan name a queue that there is not, or leave none."""
    place, options = f"TASKS[{plan.backend!r}]['QUEUES']", plan.options
    if options.exclude and plan.queues is None:
        raise CommandError(
            f"{place} is empty, which allows every name, so there is no list to exclude from; name the queues to "
            "serve with --queues, or list all of them in QUEUES."
        )
    for name in [*(options.serve or ()), *options.exclude]:
        if known and name not in known:
            raise CommandError(f"{place} has no queue {name!r}{did_you_mean(name, known)}")
    if plan.queues == []:
        raise CommandError(f"No queue is left to serve; leave one out of --exclude: {', '.join(options.exclude)}.")


def _become_supervisor(plan: Plan) -> None:
    """Replace this process by the supervisor, which keeps its pid but none of the project's apps."""
    if "DJANGO_SETTINGS_MODULE" not in os.environ:
        raise CommandError(
            "A worker starts further processes, and the environment variable DJANGO_SETTINGS_MODULE, by which they "
            "find the settings, is not set."
        )
    path = [os.path.abspath(entry or ".") for entry in sys.path[:1]]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*path, *filter(None, [os.environ.get("PYTHONPATH")])])}
    become(["-m", "mainspring.worker.supervisor", plan.to_json()], environment)


def _option(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")


def _names(text: str) -> list[str]:
    # An empty text may come from a shell variable that is not set; it must not mean all queues.
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ArgumentTypeError(f"expected names of queues with commas between them, got {text!r}")
    return names


def _value(option: str, text: str) -> int | float | str:
    value = _number_or_text(text)
    try:
        check_value(option, value)
    except InvalidOptions as error:
        raise ArgumentTypeError(str(error)) from None
    return value


def _number_or_text(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
