"""`manage.py mainspring workers`: who works, since when, and what each holds."""

from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.core.management.base import BaseCommand

from mainspring.backends import MainspringBackend
from mainspring.brokers.base import WorkerInfo
from mainspring.clock import to_datetime
from mainspring.commands.backends import add_backends_argument, shared_backends
from mainspring.commands.errors import named_errors
from mainspring.commands.overview import Overview, overview_of
from mainspring.commands.table import Cell, table
from mainspring.commands.values import age, write_json
from mainspring.job import Job

HELP = "Show the worker processes and the jobs that each holds."
EXAMPLES = """\
examples:
  manage.py mainspring workers
  manage.py mainspring workers --json | jq '.backends[].workers[] | select(.is_alive | not) | .id'

A worker holds the jobs that it has claimed: those that run, and a few that are next. `manage.py mainspring stack ID`
shows where the code of a running job stands.

keys of --json (ages are seconds, times ISO 8601 in UTC):
  backends[].alias           the alias in TASKS
  backends[].workers[]       id, host, pid, started_at, last_beat_age, is_alive (did it beat within rescue_after?),
                             memory (bytes, or null), runs_alone (does it serve only jobs that crashed before?), jobs
  ....workers[].jobs[]       id, task, queue, claimed_age, attempt, crashes; at most 1,000 for a backend
"""

MOST = 1000


@dataclass(frozen=True, slots=True)
class Crew:
    """The workers of one backend, and what each of them holds."""

    overview: Overview
    held: dict[str, list[Job]]


def add_arguments(parser: ArgumentParser) -> None:
    add_backends_argument(parser)
    parser.add_argument("--json", action="store_true", dest="as_json", help="write JSON, for scripts")


def handle(command: BaseCommand, *, backend: str | None, as_json: bool, **_: Any) -> None:
    with named_errors():
        crews = [_crew_of(each) for each in shared_backends(backend)]
    if as_json:
        write_json(command, {"backends": [_as_json(crew) for crew in crews]})
    else:
        command.stdout.write("\n\n".join(map(_as_text, crews)))


def _crew_of(backend: MainspringBackend) -> Crew:
    overview = overview_of(backend)
    held: dict[str, list[Job]] = defaultdict(list)
    for job in backend.broker.held_by([worker.id for worker in overview.workers], MOST):
        held[job.worker_id].append(job)
    return Crew(overview, held)


def _as_text(crew: Crew) -> str:
    title = f"Backend {crew.overview.alias!r}"
    if not crew.overview.workers:
        return f"{title}\n\nNo worker. Start one with `manage.py mainspring worker`."
    header = ["WORKER", "HOST", "PID", "MEMORY MB", "LAST BEAT", "ALIVE", "HOLDS", "OLDEST", "TASK"]
    return f"{title}\n\n{table(header, [_row(worker, crew) for worker in crew.overview.workers])}"


def _row(worker: WorkerInfo, crew: Crew) -> list[Cell]:
    jobs, overview = crew.held.get(worker.id, []), crew.overview
    oldest = min(jobs, key=_claimed_at, default=None)
    return [
        f"{worker.id} (alone)" if worker.facts.get("alone") else worker.id,
        worker.facts.get("host"),
        worker.facts.get("pid"),
        _megabytes(worker),
        age(overview.age(worker.beat_at)),
        "yes" if overview.is_alive(worker) else "no",
        len(jobs),
        age(overview.age(oldest.last_attempted_at)) if oldest else "-",
        oldest.task_path if oldest else "-",
    ]


def _megabytes(worker: WorkerInfo) -> int | None:
    memory = worker.facts.get("memory")
    return None if memory is None else round(memory / 10**6)


def _claimed_at(job: Job) -> int:
    return job.last_attempted_at or 0


def _as_json(crew: Crew) -> dict[str, Any]:
    return {"alias": crew.overview.alias, "workers": [_worker(each, crew) for each in crew.overview.workers]}


def _worker(worker: WorkerInfo, crew: Crew) -> dict[str, Any]:
    overview = crew.overview
    started_at = to_datetime(worker.started_at)
    return {
        "id": worker.id,
        "host": worker.facts.get("host"),
        "pid": worker.facts.get("pid"),
        "started_at": started_at.isoformat() if started_at else None,
        "last_beat_age": overview.age(worker.beat_at),
        "is_alive": overview.is_alive(worker),
        "memory": worker.facts.get("memory"),
        "runs_alone": bool(worker.facts.get("alone")),
        "jobs": list(_jobs(crew.held.get(worker.id, []), overview)),
    }


def _jobs(jobs: Iterable[Job], overview: Overview) -> Iterable[dict[str, Any]]:
    for job in jobs:
        yield {
            "id": job.id,
            "task": job.task_path,
            "queue": job.queue_name,
            "claimed_age": overview.age(job.last_attempted_at),
            "attempt": job.attempts + 1,
            "crashes": job.crashes,
        }
