"""`manage.py mainspring check`: are the settings right, and does a job find its way through each store?"""

import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from django.core import checks
from django.core.checks import CheckMessage
from django.core.management.base import BaseCommand
from django.db import transaction

from mainspring import job as machine
from mainspring.backends import MainspringBackend
from mainspring.brokers.base import Broker
from mainspring.checks import risks_of
from mainspring.commands.backends import backend_of, mainspring_backends
from mainspring.commands.errors import TROUBLE, one_line
from mainspring.commands.table import table
from mainspring.commands.values import number_of, write_json
from mainspring.exceptions import MainspringError
from mainspring.job import Job, State

HELP = "Check the settings, the databases, and the way of a job through each store."
EXAMPLES = """\
examples:
  manage.py mainspring check
  manage.py mainspring check --fail-level WARNING            for a pipeline that wants no warnings either
  manage.py mainspring check --json | jq .round_trips

On each backend of Mainspring a job is pushed, claimed, finished and read. In a database this happens in a transaction
that is then rolled back: no worker ever sees the job. Elsewhere it is deleted. Nothing is left of it.

keys of --json:
  is_ok                      the answer
  messages[]                 of the system checks: id, level, text, hint
  round_trips[]              alias, steps_ms (milliseconds of reach, push, claim, finish, read), problem (or null)

exit codes:
  0  all is well
  1  something is not; the lines above say what
"""

T = TypeVar("T")

QUEUE = "mainspring.check"
TASK = "mainspring.check"  # there is no such task: nobody runs the job
ARGUMENTS = '{"args": [], "kwargs": {}}'
STEPS = ("reach", "push", "claim", "finish", "read")
LEVELS = {"WARNING": checks.WARNING, "ERROR": checks.ERROR}


@dataclass(slots=True)
class RoundTrip:
    """The way of one job through the store of one backend, as far as it came."""

    alias: str
    steps_ms: dict[str, float] = field(default_factory=dict)
    problem: str | None = None

    def step(self, name: str, verb: Callable[..., T], *arguments: Any) -> T:
        """Return what this verb of the broker returns, and note how long it took."""
        started = time.perf_counter()
        value = verb(*arguments)
        self.steps_ms[name] = round((time.perf_counter() - started) * 1000, 3)
        return value


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--fail-level", choices=LEVELS, default="ERROR", help="from which level on a message fails (default: ERROR)"
    )
    parser.add_argument("--json", action="store_true", dest="as_json", help="write JSON, for scripts")


def handle(command: BaseCommand, *, fail_level: str, as_json: bool, **_: Any) -> None:
    backends = mainspring_backends() or [backend_of(None)]
    trips = [_round_trip(backend) for backend in backends]
    messages = _messages(backends, trips)
    problems = sum(message.level >= LEVELS[fail_level] for message in messages)
    problems += sum(trip.problem is not None for trip in trips)
    if as_json:
        write_json(command, _as_json(trips, messages, problems))
    else:
        command.stdout.write(_as_text(trips, messages, problems))
    if problems:
        sys.exit(1)


def _messages(backends: Collection[MainspringBackend], trips: Collection[RoundTrip]) -> list[CheckMessage]:
    """Return what the system checks say about Mainspring; a database that does not answer is not asked again."""
    reached = {trip.alias for trip in trips if "reach" in trip.steps_ms}
    databases = {backend.broker.using for backend in backends if backend.alias in reached}
    found = checks.run_checks(databases=sorted(filter(None, databases)))
    found += [message for alias in sorted(reached) for message in risks_of(alias)]
    return [message for message in found if str(message.id).startswith("mainspring.") and not message.is_silenced()]


def _round_trip(backend: MainspringBackend) -> RoundTrip:
    trip = RoundTrip(backend.alias)
    try:
        broker = backend.broker
        trip.step("reach", broker.check)
        at = broker.clock.moment()
        job = machine.new_job(task_path=TASK, arguments=ARGUMENTS, queue_name=QUEUE, priority=0, at=at)
        with _undone(broker, job):
            _go_round(trip, broker, job)
    except TROUBLE as error:
        trip.problem = one_line(error)
    return trip


@contextmanager
def _undone(broker: Broker, job: Job) -> Iterator[None]:
    """Undo what is done with this job inside; in a database no one else ever sees it."""
    if broker.using is None:
        try:
            yield
        finally:
            _delete(broker, job)
        return
    with transaction.atomic(using=broker.using):
        yield
        transaction.set_rollback(True, using=broker.using)


def _delete(broker: Broker, job: Job) -> None:
    """Delete the job, however far it came."""
    stored = broker.get(job.id)
    if stored is not None and stored.state == State.RUNNING:
        broker.settle([machine.release(stored)])
    broker.cancel([job.id])
    broker.delete([job.id])


def _go_round(trip: RoundTrip, broker: Broker, job: Job) -> None:
    trip.step("push", broker.push, [job])
    claimed = trip.step("claim", broker.claim, QUEUE, [QUEUE], 1)
    _expect([job.id], [each.id for each in claimed], "claim: the job that was pushed")
    ended = machine.succeed(claimed[0], "null", started_at=job.enqueued_at, at=job.enqueued_at)
    accepted = trip.step("finish", broker.settle, [ended])
    _expect({job.id}, accepted, "finish: the outcome to be accepted")
    _expect(ended, trip.step("read", broker.get, job.id), "read: the job as it ended")


def _expect(expected: object, got: object, what: str) -> None:
    if expected != got:
        raise MainspringError(f"{what} was expected, got {got!r:.300}")


# What is shown.


def _as_text(trips: list[RoundTrip], messages: list[CheckMessage], problems: int) -> str:
    summary = f"{number_of(problems, 'problem')} found." if problems else "All is well."
    broken = [f"{trip.alias}: {trip.problem}" for trip in trips if trip.problem is not None]
    return "\n\n".join([*map(str, messages), _trip_table(trips), *broken, summary])


def _trip_table(trips: list[RoundTrip]) -> str:
    rows = [[trip.alias, *map(trip.steps_ms.get, STEPS)] for trip in trips]
    return table(["BACKEND", *(f"{name.upper()} MS" for name in STEPS)], rows)


def _as_json(trips: list[RoundTrip], messages: list[CheckMessage], problems: int) -> dict[str, Any]:
    return {
        "is_ok": not problems,
        "messages": [_message_json(message) for message in messages],
        "round_trips": [{"alias": trip.alias, "steps_ms": trip.steps_ms, "problem": trip.problem} for trip in trips],
    }


def _message_json(message: CheckMessage) -> dict[str, Any]:
    level = "ERROR" if message.level >= checks.ERROR else "WARNING"
    return {"id": message.id, "level": level, "text": str(message.msg), "hint": message.hint}
