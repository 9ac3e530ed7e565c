"""`manage.py mainspring prune`: delete jobs that ended long ago."""

from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand

from mainspring.backends import MainspringBackend
from mainspring.brokers.base import Broker
from mainspring.clock import SECOND
from mainspring.commands.backends import add_backends_argument, shared_backends
from mainspring.commands.errors import named_errors
from mainspring.commands.values import duration, number_of, write_json
from mainspring.conf import Options, did_you_mean
from mainspring.job import ENDS, State

HELP = "Delete jobs that ended long ago; workers do the same by themselves, by the option retention."
EXAMPLES = """\
examples:
  manage.py mainspring prune                                      what is older than the option retention keeps
  manage.py mainspring prune --dry-run                            only count
  manage.py mainspring prune --older-than 7d                      every kind of end
  manage.py mainspring prune --older-than 0s --state cancelled --state expired

Live jobs are never deleted. Without --older-than a state that retention keeps for ever is left alone.

keys of --json:
  is_dry_run                 was nothing deleted?
  backends[]                 alias, pruned (how many of each state), total
"""

# Many rows in one statement would hold their locks, and the only writer of SQLite, for long.
BATCH = 1000
ALL = 2**31 - 1


def add_arguments(parser: ArgumentParser) -> None:
    add_backends_argument(parser)
    parser.add_argument("--dry-run", action="store_true", dest="is_dry_run", help="count what would go")
    parser.add_argument(
        "--older-than", type=duration, metavar="AGE", help="time since the end: 90, 90s, 2h, 7d (default: retention)"
    )
    parser.add_argument(
        "--state",
        type=_end,
        action="append",
        dest="states",
        metavar="STATE",
        help=f"only this end, may be repeated: {', '.join(sorted(ENDS))} (default: all)",
    )
    parser.add_argument("--json", action="store_true", dest="as_json", help="write JSON, for scripts")


def handle(
    command: BaseCommand,
    *,
    backend: str | None,
    is_dry_run: bool,
    older_than: float | None,
    states: list[State] | None,
    as_json: bool,
    **_: Any,
) -> None:
    with named_errors():
        pruned = {
            each.alias: _prune(command, each, _ages(each.mainspring_options, states, older_than), is_dry_run)
            for each in shared_backends(backend)
        }
    if as_json:
        write_json(command, _as_json(pruned, is_dry_run))
        return
    for alias, numbers in pruned.items():
        command.stdout.write(_as_text(alias, numbers, is_dry_run))


def _ages(options: Options, states: list[State] | None, older_than: float | None) -> dict[State, float]:
    """Return the age in seconds from which jobs of each state go."""
    ages = {state: _kept(options, state) if older_than is None else older_than for state in sorted(states or ENDS)}
    return {state: age for state, age in ages.items() if age is not None}


def _kept(options: Options, state: State) -> float | None:
    return options.keep_succeeded if state == State.SUCCEEDED else options.keep_failed


def _prune(
    command: BaseCommand, backend: MainspringBackend, ages: dict[State, float], is_dry_run: bool
) -> dict[State, int]:
    """Return how many jobs of each state went, or would go."""
    broker = backend.broker
    broker.beat([])  # for nobody; it sets the clock by the store's own time
    now = broker.clock.moment()
    numbers = {}
    for state, age in ages.items():
        before = now - round(age * SECOND)
        if is_dry_run:
            numbers[state] = broker.prune([state], before, ALL, dry_run=True)
        else:
            numbers[state] = _prune_state(command, broker, state, before)
    return numbers


def _prune_state(command: BaseCommand, broker: Broker, state: State, before: int) -> int:
    pruned, batch = 0, BATCH
    while batch >= BATCH:
        batch = broker.prune([state], before, BATCH)
        pruned += batch
        if batch and command.stderr.isatty():
            ending = "\r" if batch >= BATCH else "\n"
            command.stderr.write(f"{broker.alias}: {pruned:,} {state}", style_func=str, ending=ending)
    return pruned


def _as_text(alias: str, numbers: dict[State, int], is_dry_run: bool) -> str:
    what = "would be deleted" if is_dry_run else "deleted"
    detail = ", ".join(f"{number:,} {state}" for state, number in numbers.items() if number)
    return f"{alias}: {number_of(sum(numbers.values()), 'job')} {what}{f' ({detail})' if detail else ''}."


def _as_json(pruned: dict[str, dict[State, int]], is_dry_run: bool) -> dict[str, Any]:
    backends = [
        {"alias": alias, "pruned": numbers, "total": sum(numbers.values())} for alias, numbers in pruned.items()
    ]
    return {"is_dry_run": is_dry_run, "backends": backends}


def _end(text: str) -> State:
    if text not in ENDS:
        raise ArgumentTypeError(f"{text!r} is no state in which a job ends{did_you_mean(text, map(str, ENDS))}")
    return State(text)
