"""`manage.py mainspring enqueue`: call a task from the command line."""

import difflib
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.module_loading import autodiscover_modules

from mainspring import compat
from mainspring.backends import MainspringBackend
from mainspring.commands.backends import mainspring_backends, shared_backend
from mainspring.commands.errors import named_errors
from mainspring.commands.values import duration, json_or_text, write_json
from mainspring.compat import AnyTask
from mainspring.conf import did_you_mean
from mainspring.exceptions import UnknownTask
from mainspring.tasks import Task, is_known_place, load_task

HELP = "Enqueue a call of a task and print the id of its job."
EXAMPLES = """\
examples:
  manage.py mainspring enqueue shop.tasks.ship 3                    ship.enqueue(3)
  manage.py mainspring enqueue shop.tasks.ship 3 -k express=true    ship.enqueue(3, express=True)
  manage.py mainspring enqueue shop.tasks.greet Ann '"42"' --text   greet.enqueue("Ann", '"42"')
  manage.py mainspring enqueue --in 10m --queue mail shop.tasks.remind '[1, 2]'
  manage.py mainspring enqueue --at 2030-01-31T08:00+01:00 shop.tasks.report
  manage.py mainspring enqueue shop.tasks.move 3 -- -1e5 --fast     what begins with a dash follows --

An argument that is JSON is read as such: 3, 2.5, true, null, "42", [1, 2], {"a": 1}. Any other is a text: Ann, 007.
With --text all are texts. Options stand before the path or after the last argument, not between them.

keys of --json:
  id, task, backend, queue, priority, run_after (ISO 8601, or null: at once)
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="dotted path of the task: shop.tasks.ship")
    parser.add_argument("arguments", metavar="ARG", nargs="*", default=[], help="positional arguments")
    parser.add_argument(
        "-k",
        "--kwarg",
        type=_pair,
        action="append",
        dest="keywords",
        default=[],
        metavar="NAME=VALUE",
        help="a keyword argument, may be repeated",
    )
    parser.add_argument("--text", action="store_true", help="take every argument as text, even one that is JSON")
    parser.add_argument("--backend", metavar="ALIAS", help="the alias in TASKS (default: the task's)")
    parser.add_argument("--queue", metavar="NAME", dest="queue_name", help="the queue (default: the task's)")
    parser.add_argument("--priority", type=int, metavar="N", help="from -100 to 100 (default: the task's)")
    when = parser.add_mutually_exclusive_group()
    when.add_argument("--in", type=_delay, dest="run_after", metavar="TIME", help="run after 90, 90s, 10m, 2h or 7d")
    when.add_argument("--at", type=_moment, dest="run_after", metavar="ISO", help="run at 2030-01-31T08:00 or later")
    parser.add_argument("--json", action="store_true", dest="as_json", help="write JSON, for scripts")


def handle(
    command: BaseCommand,
    *,
    path: str,
    arguments: Sequence[str],
    keywords: Sequence[tuple[str, str]],
    text: bool,
    as_json: bool,
    backend: str | None,
    queue_name: str | None,
    priority: int | None,
    run_after: datetime | timedelta | None,
    **_: Any,
) -> None:
    read = str if text else json_or_text
    args, kwargs = [read(argument) for argument in arguments], _keywords(keywords, read)
    _check_alias(backend)
    with named_errors():
        task = _load(path).using(backend=backend, queue_name=queue_name, priority=priority, run_after=run_after)
        found = task.get_backend()
        if isinstance(found, MainspringBackend):
            shared_backend(found)
        # Not task.enqueue(), whose own `self` would be in the way of a keyword argument of that name.
        result = found.enqueue(task, args, kwargs)
    if as_json:
        write_json(command, _as_json(result.id, result.task))
    else:
        command.stdout.write(result.id)


def _load(path: str) -> Task:
    modules = [module for backend in mainspring_backends() for module in backend.mainspring_options.task_modules]
    try:
        return load_task(path, modules)
    except UnknownTask as error:
        raise CommandError(f"{str(error).rstrip('.')}.{_nearest(path, modules)}") from error


def _nearest(path: str, modules: Sequence[str]) -> str:
    """Return a sentence with the task whose path is most like this one, if any is."""
    with suppress(Exception):  # whatever an app does when its tasks are imported, this is only a hint
        autodiscover_modules("tasks")
    values = [
        value for module in list(sys.modules.values()) for value in list(getattr(module, "__dict__", {}).values())
    ]
    # By its type, since to ask a lazy object what it is would make it.
    paths = {value.module_path for value in values if issubclass(type(value), compat.Task)}
    nearest = difflib.get_close_matches(path, [each for each in paths if is_known_place(each, modules)], n=1)
    return f" Did you mean {nearest[0]!r}?" if nearest else ""


def _check_alias(alias: str | None) -> None:
    if alias is not None and alias not in settings.TASKS:
        raise CommandError(f"TASKS has no {alias!r}{did_you_mean(alias, settings.TASKS)}")


def _keywords(pairs: Sequence[tuple[str, str]], read: Callable[[str], Any]) -> dict[str, Any]:
    keywords: dict[str, Any] = {}
    for name, value in pairs:
        if name in keywords:
            raise CommandError(f"-k {name}=... was given twice: {keywords[name]!r:.100} and {read(value)!r:.100}.")
        keywords[name] = read(value)
    return keywords


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    return name, value


def _delay(text: str) -> timedelta:
    try:
        return timedelta(seconds=duration(text))
    except OverflowError:
        raise ArgumentTypeError(f"expected a time that a calendar knows, got {text!r}") from None


def _moment(text: str) -> datetime:
    try:
        moment = parse_datetime(text)
    except ValueError:
        moment = None
    if moment is None:
        raise ArgumentTypeError(f"expected a time like '2030-01-31T08:00' or '2030-01-31T08:00+01:00', got {text!r}")
    # Without a zone it is meant in the project's.
    return timezone.make_aware(moment) if timezone.is_naive(moment) else moment


def _as_json(id: str, task: AnyTask) -> dict[str, Any]:
    return {
        "id": id,
        "task": task.module_path,
        "backend": task.backend,
        "queue": task.queue_name,
        "priority": task.priority,
        "run_after": task.run_after and task.run_after.isoformat(),
    }
