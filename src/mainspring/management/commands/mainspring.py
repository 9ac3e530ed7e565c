"""`manage.py mainspring VERB`: looks the verb up and hands over."""

from argparse import SUPPRESS, ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from copy import copy
from importlib import import_module
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import DatabaseError, InterfaceError

from mainspring.conf import did_you_mean

VERBS = ("worker", "workers", "status", "health", "enqueue", "explain", "stack", "check", "prune", "limits", "adopt")


class VerbParser(CommandParser):
    """The parser of one verb: it names what it does not know itself, with the verb's own usage."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Namespace, list[str]]:  # type: ignore[override] # one of three overloads
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}{self._nearest(unknown[0])}")
        return found, unknown

    def _nearest(self, word: str) -> str:
        if not word.startswith("-"):
            return ""
        flags = [flag for action in self._actions if action.help != SUPPRESS for flag in action.option_strings]
        return did_you_mean(word.partition("=")[0], flags)


class Command(BaseCommand):
    help = (
        "Run and look after Mainspring's jobs. `manage.py mainspring VERB --help` explains a verb, with examples. "
        "Django's own options, such as --settings, may stand before the verb or after it."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        django_options = [action for action in parser._actions if action.option_strings]
        verbs = parser.add_subparsers(dest="verb", required=True, parser_class=VerbParser)
        for name in VERBS:
            module = import_module(f"mainspring.commands.{name}")
            verb = verbs.add_parser(
                name,
                help=module.HELP,
                description=module.HELP,
                epilog=module.EXAMPLES,
                formatter_class=RawDescriptionHelpFormatter,
            )
            module.add_arguments(verb)
            _add_again(verb, django_options)

    def check(self, *args: Any, **options: Any) -> None:
        try:
            super().check(*args, **options)
        except (DatabaseError, InterfaceError) as error:
            # Django's checks of models ask a MySQL server for its version. The verbs say themselves what is wrong
            # with a store, and a worker waits for it.
            self.stderr.write(f"The system checks could not be finished: {error}")

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        import_module(f"mainspring.commands.{verb}").handle(self, **options)


def _add_again(verb: ArgumentParser, actions: Sequence[Any]) -> None:
    """Let a verb take the options of the whole command too; without a default, what stood before the verb holds."""
    for action in actions:
        if action.dest in ("help", "version"):
            continue
        again = copy(action)
        again.default = again.help = SUPPRESS
        verb._add_action(again)
