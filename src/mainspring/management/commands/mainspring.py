"""`manage.py mainspring VERB`: looks the verb up and hands over."""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from importlib import import_module
from typing import Any

from django.core.management.base import BaseCommand
from django.db import DatabaseError, InterfaceError

VERBS = ("worker", "workers", "status", "health", "enqueue", "check", "prune")


class Command(BaseCommand):
    help = "Run and look after Mainspring's jobs. `manage.py mainspring VERB --help` explains a verb, with examples."

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
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

    def check(self, *args: Any, **options: Any) -> None:
        try:
            super().check(*args, **options)
        except (DatabaseError, InterfaceError) as error:
            # Django's checks of models ask a MySQL server for its version. The verbs say themselves what is wrong
            # with a store, and a worker waits for it.
            self.stderr.write(f"The system checks could not be finished: {error}")

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        import_module(f"mainspring.commands.{verb}").handle(self, **options)
