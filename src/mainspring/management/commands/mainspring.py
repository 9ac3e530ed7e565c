"""`manage.py mainspring VERB`: looks the verb up and hands over."""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from importlib import import_module
from typing import Any

from django.core.management.base import BaseCommand

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

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        import_module(f"mainspring.commands.{verb}").handle(self, **options)
