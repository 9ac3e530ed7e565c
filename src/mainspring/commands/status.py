"""`manage.py mainspring status`: how many jobs are where, and who runs them."""

import time
from argparse import ArgumentParser
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from mainspring.backends import MainspringBackend
from mainspring.brokers.base import WorkerInfo
from mainspring.clock import to_datetime
from mainspring.commands.backends import add_backends_argument, shared_backends
from mainspring.commands.errors import named_errors
from mainspring.commands.overview import Overview, Queue, overview_of
from mainspring.commands.table import Cell, table
from mainspring.commands.values import age, duration, write_json
from mainspring.job import ENDS, State

HELP = "Show the queues and the workers."
EXAMPLES = """\
examples:
  manage.py mainspring status                      all backends of Mainspring
  manage.py mainspring status --backend reports
  manage.py mainspring status --watch              again every 2 seconds, until Ctrl-C
  manage.py mainspring status --json | jq '.backends[].queues[] | select(.ready > 1000) | .name'

keys of --json (ages are seconds, times ISO 8601 in UTC; with --watch one line each time):
  at                         when this was so
  backends[].alias           the alias in TASKS
  backends[].queues[]        name, is_known (does it stand in QUEUES?), ready, deferred, parked, waiting, running,
                             oldest_ready_age (null: none is ready),
                             ended (in the last 24 hours: succeeded, failed, cancelled, discarded, expired,
                             quarantined)
  backends[].workers[]       id, host, pid, started_at, last_beat_age, is_alive (did it beat within rescue_after?)
"""

WATCH_EVERY = 2.0
CLEAR = "\x1b[H\x1b[2J"
NOW = (State.READY, State.DEFERRED, State.PARKED, State.WAITING, State.RUNNING)
# In the order in which people look for them.
ENDED = (State.SUCCEEDED, State.FAILED, *sorted(ENDS - {State.SUCCEEDED, State.FAILED}))
ALWAYS_SHOWN = {State.READY, State.DEFERRED, State.RUNNING, State.SUCCEEDED, State.FAILED}


def add_arguments(parser: ArgumentParser) -> None:
    add_backends_argument(parser)
    parser.add_argument("--json", action="store_true", dest="as_json", help="write JSON, for scripts")
    parser.add_argument(
        "--watch",
        nargs="?",
        type=duration,
        const=WATCH_EVERY,
        metavar="SECONDS",
        help="show it again and again, every 2 seconds if not said otherwise",
    )


def handle(command: BaseCommand, *, backend: str | None, as_json: bool, watch: float | None, **_: Any) -> None:
    with named_errors():
        backends = shared_backends(backend)
    if watch is None:
        _show(command, backends, as_json)
        return
    try:
        while True:
            _show_again(command, backends, as_json)
            time.sleep(watch)
    except KeyboardInterrupt:
        return


def _show(command: BaseCommand, backends: Iterable[MainspringBackend], as_json: bool) -> None:
    with named_errors():
        overviews = [overview_of(backend) for backend in backends]
    if as_json:
        write_json(command, _as_json(overviews))
    else:
        command.stdout.write("\n\n".join(map(_as_text, overviews)))


def _show_again(command: BaseCommand, backends: Iterable[MainspringBackend], as_json: bool) -> None:
    """Show what there is; a store that is away for a while does not end the watch."""
    if command.stdout.isatty() and not as_json:
        command.stdout.write(CLEAR, ending="")
    try:
        _show(command, backends, as_json)
    except CommandError as error:
        command.stderr.write(str(error))
    if not as_json:
        command.stdout.write("")
    command.stdout.flush()


# For people.


def _as_text(overview: Overview) -> str:
    title = f"Backend {overview.alias!r} at {_time(overview.at)}"
    return "\n\n".join([title, _queue_table(overview), _worker_table(overview)])


def _queue_table(overview: Overview) -> str:
    now, ended = _shown(NOW, overview.queues), _shown(ENDED, overview.queues)
    header = [
        "QUEUE",
        *(state.upper() for state in now),
        "OLDEST READY",
        *(f"{state.upper()} 24 H" for state in ended),
    ]
    return table(header, [_queue_row(queue, overview, now, ended) for queue in overview.queues])


def _queue_row(queue: Queue, overview: Overview, now: list[State], ended: list[State]) -> list[Cell]:
    return [
        queue.name if queue.is_known else f"{queue.name} (not in QUEUES)",
        *map(queue.number, now),
        age(overview.age(queue.oldest_ready)),
        *map(queue.number, ended),
    ]


def _shown(states: Iterable[State], queues: list[Queue]) -> list[State]:
    """Return the states that get a column: the usual ones, and others that some job is in."""
    return [state for state in states if state in ALWAYS_SHOWN or any(queue.number(state) for queue in queues)]


def _worker_table(overview: Overview) -> str:
    if not overview.workers:
        return "No worker is running. Start one: manage.py mainspring worker"
    rows = [_worker_row(worker, overview) for worker in overview.workers]
    return table(["WORKER HOST", "PID", "SINCE", "LAST BEAT"], rows)


def _worker_row(worker: WorkerInfo, overview: Overview) -> list[Cell]:
    last_beat = age(overview.age(worker.beat_at))
    return [
        str(worker.facts.get("host", worker.id)),
        str(worker.facts.get("pid", "-")),
        _time(worker.started_at),
        last_beat if overview.is_alive(worker) else f"{last_beat} (silent)",
    ]


def _time(moment: int) -> str:
    return timezone.localtime(_datetime(moment)).strftime("%Y-%m-%d %H:%M:%S %Z")


# For scripts.


def _as_json(overviews: list[Overview]) -> dict[str, Any]:
    at = max((overview.at for overview in overviews), default=0)
    return {"at": _datetime(at).isoformat(), "backends": [_backend_json(overview) for overview in overviews]}


def _backend_json(overview: Overview) -> dict[str, Any]:
    return {
        "alias": overview.alias,
        "queues": [_queue_json(queue, overview) for queue in overview.queues],
        "workers": [_worker_json(worker, overview) for worker in overview.workers],
    }


def _queue_json(queue: Queue, overview: Overview) -> dict[str, Any]:
    return {
        "name": queue.name,
        "is_known": queue.is_known,
        **{str(state): queue.number(state) for state in NOW},
        "oldest_ready_age": overview.age(queue.oldest_ready),
        "ended": {str(state): queue.number(state) for state in ENDED},
    }


def _worker_json(worker: WorkerInfo, overview: Overview) -> dict[str, Any]:
    return {
        "id": worker.id,
        "host": worker.facts.get("host"),
        "pid": worker.facts.get("pid"),
        "started_at": _datetime(worker.started_at).isoformat(),
        "last_beat_age": overview.age(worker.beat_at),
        "is_alive": overview.is_alive(worker),
    }


def _datetime(moment: int) -> datetime:
    found = to_datetime(moment)
    assert found is not None
    return found
