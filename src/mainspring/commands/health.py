"""`manage.py mainspring health`: is all well? For containers, load balancers and alarms."""

import sys
from argparse import ArgumentParser
from dataclasses import asdict, dataclass
from typing import Any

from django.core.management.base import BaseCommand

from mainspring.backends import MainspringBackend
from mainspring.commands.backends import add_backends_argument, shared_backends
from mainspring.commands.errors import TROUBLE, named_errors, one_line
from mainspring.commands.overview import Overview, overview_of
from mainspring.commands.values import age, count, duration, number_of, write_json

HELP = "Exit with 0 if all is well, with 1 and one line that says why if not."
EXAMPLES = """\
examples:
  manage.py mainspring health                               the store answers and a worker lives
  manage.py mainspring health --workers 3                   at least three worker processes live
  manage.py mainspring health --no-workers                  the store answers, whoever works
  manage.py mainspring health --max-age 5m --max-backlog 10000
  HEALTHCHECK CMD ["python", "manage.py", "mainspring", "--skip-checks", "health"]      without Django's system checks

A worker lives if its last beat is younger than the option rescue_after. The age of a ready job counts from when it
was enqueued, or fell due if that was later.

keys of --json (ages are seconds):
  is_healthy                 the answer for all backends
  backends[]                 alias, is_healthy, problems (one text each), workers (that live), ready,
                             oldest_ready_age (null: none is ready, or the store does not answer)

exit codes:
  0  healthy
  1  not healthy
  2  wrong usage
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is asked for; None is no limit."""

    workers: int
    max_age: float | None
    max_backlog: int | None


@dataclass(frozen=True, slots=True)
class Health:
    """How one backend is."""

    alias: str
    problems: list[str]
    workers: int = 0
    ready: int = 0
    oldest_ready_age: float | None = None

    @property
    def is_healthy(self) -> bool:
        return not self.problems

    def __str__(self) -> str:
        if self.problems:
            return f"{self.alias}: {'; '.join(self.problems)}"
        oldest = "" if self.oldest_ready_age is None else f", the oldest for {age(self.oldest_ready_age)}"
        return f"{self.alias}: {number_of(self.workers, 'worker')}, {number_of(self.ready, 'job')} ready{oldest}"


def add_arguments(parser: ArgumentParser) -> None:
    add_backends_argument(parser)
    parser.add_argument(
        "--workers", type=count, default=1, metavar="N", help="how many worker processes must live (default: 1)"
    )
    parser.add_argument("--no-workers", action="store_const", const=0, dest="workers", help="do not ask for workers")
    parser.add_argument(
        "--max-age", type=duration, metavar="S", help="how long a job may have been ready: 90, 90s, 5m"
    )
    parser.add_argument("--max-backlog", type=count, metavar="N", help="how many jobs may be ready")
    parser.add_argument("--json", action="store_true", dest="as_json", help="write JSON, for scripts")


def handle(
    command: BaseCommand,
    *,
    backend: str | None,
    workers: int,
    max_age: float | None,
    max_backlog: int | None,
    as_json: bool,
    **_: Any,
) -> None:
    limits = Limits(workers, max_age, max_backlog)
    with named_errors():
        healths = [_health(each, limits) for each in shared_backends(backend)]
    _write(command, healths, as_json)
    if not all(health.is_healthy for health in healths):
        sys.exit(1)


def _health(backend: MainspringBackend, limits: Limits) -> Health:
    try:
        backend.broker.check()
        overview = overview_of(backend)
    except TROUBLE as error:
        return Health(backend.alias, [one_line(error)])
    return Health(
        alias=backend.alias,
        problems=_problems(overview, limits),
        workers=len(overview.alive),
        ready=overview.ready,
        oldest_ready_age=overview.oldest_ready_age,
    )


def _problems(overview: Overview, limits: Limits) -> list[str]:
    alive, oldest = len(overview.alive), overview.oldest_ready_age
    problems = []
    if alive < limits.workers:
        lives = f"{number_of(alive, 'worker')} {'has' if alive == 1 else 'have'}" if alive else "no worker has"
        problems.append(f"{lives} beaten within {age(overview.lease)}, expected {limits.workers:,} or more")
    if limits.max_age is not None and oldest is not None and oldest > limits.max_age:
        problems.append(f"a job has been ready for {age(oldest)}, expected at most {age(limits.max_age)}")
    if limits.max_backlog is not None and overview.ready > limits.max_backlog:
        problems.append(f"{number_of(overview.ready, 'job')} ready, expected at most {limits.max_backlog:,}")
    return problems


def _write(command: BaseCommand, healths: list[Health], as_json: bool) -> None:
    is_healthy = all(health.is_healthy for health in healths)
    if as_json:
        backends = [{**asdict(health), "is_healthy": health.is_healthy} for health in healths]
        write_json(command, {"is_healthy": is_healthy, "backends": backends})
        return
    shown = healths if is_healthy else [health for health in healths if not health.is_healthy]
    command.stdout.write(f"{'healthy' if is_healthy else 'unhealthy'}: {' | '.join(map(str, shown))}")
