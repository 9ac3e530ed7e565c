"""`manage.py mainspring limits`: where limits stand, and how to pause or change one."""

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from mainspring.backends import MainspringBackend
from mainspring.brokers.base import Broker
from mainspring.brokers.rates import parse_rate
from mainspring.commands.backends import add_backend_argument, backend_of, shared_backend
from mainspring.commands.errors import named_errors
from mainspring.commands.table import Cell, table
from mainspring.commands.values import age, count, duration, write_json
from mainspring.limit_handles import LimitHandle, LimitStatus, status_of

HELP = "Show limits and what holds them, or pause or change one while workers run."
EXAMPLES = """\
examples:
  manage.py mainspring limits
  manage.py mainspring limits stripe                            that one, with the jobs that hold it
  manage.py mainspring limits stripe --pause 10m                start nothing under it for ten minutes
  manage.py mainspring limits stripe --resume
  manage.py mainspring limits stripe --concurrency 2 --rate 50/m
  manage.py mainspring limits stripe --concurrency none --rate 50/m
  manage.py mainspring limits stripe --reset                    back to what the code declares

Of --concurrency and --rate, what is not given is without limit. A limit is known once a job has asked for it.

keys of --json:
  alias       the alias in TASKS
  limits[]    name, concurrency and rate (null: without), is_given (at run time?), held, held_by (ids of jobs), parked
              (how many wait for it), paused_until (ISO 8601 in UTC, or null)
"""

PAGE = 500
NONE = "none"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="the limit (default: show all)")
    add_backend_argument(parser)
    parser.add_argument("--concurrency", type=_concurrency, metavar="N", help="let N jobs run at once, 0 to none")
    parser.add_argument("--rate", type=_rate, metavar="RATE", help="let so many start, such as 100/m, or none")
    parser.add_argument("--reset", action="store_true", help="go back to what the code declares")
    parser.add_argument("--pause", type=duration, metavar="TIME", help="start nothing for so long: 90, 90s, 10m")
    parser.add_argument("--resume", action="store_true", help="end a pause")
    parser.add_argument("--json", action="store_true", dest="as_json", help="write JSON, for scripts")


def handle(command: BaseCommand, *, name: str | None, backend: str | None, as_json: bool, **changes: Any) -> None:
    with named_errors():
        found = shared_backend(backend_of(backend))
        if name is None:
            _refuse_changes(changes)
        else:
            _change(LimitHandle(name, found.alias), **changes)
        statuses = list(_all(found.broker)) if name is None else [_one(found, name)]
        if as_json:
            write_json(command, {"alias": found.alias, "limits": [_as_json(each) for each in statuses]})
            return
        now = found.broker.now() / 1_000_000
        command.stdout.write(_as_text(statuses, now) if statuses else "No limit has been asked for yet.")
        if name is not None and statuses[0].held_by:
            command.stdout.write(f"\nHeld by {', '.join(statuses[0].held_by)}.")


def _change(
    handle: LimitHandle,
    *,
    concurrency: str | int | None,
    rate: str | None,
    reset: bool,
    pause: float | None,
    resume: bool,
    **_: Any,
) -> None:
    is_given = concurrency is not None or rate is not None
    if is_given and reset:
        raise CommandError("--reset goes back to what the code declares; leave --concurrency and --rate out.")
    if pause is not None and resume:
        raise CommandError("Give either --pause or --resume.")
    if is_given:
        handle.change(
            concurrency=concurrency if isinstance(concurrency, int) else None, rate=None if rate == NONE else rate
        )
    if reset:
        handle.reset()
    if pause is not None:
        handle.pause(pause)
    if resume:
        handle.resume()


def _refuse_changes(changes: dict[str, Any]) -> None:
    names = ("concurrency", "rate", "reset", "pause", "resume")
    if given := [name for name in names if changes[name] not in (None, False)]:
        raise CommandError(f"--{given[0]} needs the name of a limit: `limits NAME --{given[0]} …`.")


def _all(broker: Broker) -> Iterator[LimitStatus]:
    after = ""
    while page := broker.limits(after, PAGE):
        for name, level in page.items():
            yield status_of(broker, name, level)
            after = name


def _one(backend: MainspringBackend, name: str) -> LimitStatus:
    level = backend.broker.level(name)
    if level is None:
        raise CommandError(
            f"TASKS[{backend.alias!r}] knows no limit {name!r}: no job has asked for it yet, or not for long."
        )
    return status_of(backend.broker, name, level)


def _as_text(statuses: list[LimitStatus], now: float) -> str:
    header = ["LIMIT", "CONCURRENCY", "RATE", "BY", "HELD", "PARKED", "PAUSED FOR"]
    return table(header, [_row(each, now) for each in statuses])


def _row(status: LimitStatus, now: float) -> list[Cell]:
    paused = None if status.paused_until is None else status.paused_until.timestamp() - now
    return [
        status.name,
        status.concurrency,
        status.rate or "-",
        "run time" if status.is_given else "code",
        status.held,
        status.parked,
        age(paused),
    ]


def _as_json(status: LimitStatus) -> dict[str, Any]:
    until = status.paused_until
    return asdict(status) | {"paused_until": None if until is None else until.isoformat()}


def _concurrency(text: str) -> str | int:
    return NONE if text == NONE else count(text)


def _rate(text: str) -> str:
    if text != NONE:
        try:
            parse_rate(text)
        except ValueError as error:
            raise ArgumentTypeError(str(error)) from None
    return text
