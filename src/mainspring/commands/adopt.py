"""`manage.py mainspring adopt`: take a store over for this site."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from mainspring.commands.backends import add_backend_argument, backend_of, shared_backend
from mainspring.commands.errors import named_errors

HELP = "Take a store over for this site: its jobs are this site's to run from now on."
EXAMPLES = """\
examples:
  manage.py mainspring adopt                         say that the jobs of this database are ours
  manage.py mainspring adopt --backend reports

A store remembers the OPTIONS['site'] of its workers, and workers of another site refuse it: the jobs in a copy of a
production database are not for a staging site to run. Look first at what is in it (`manage.py mainspring status`),
and delete what must not run here. Where OPTIONS has no 'site', the store belongs to nobody afterwards.
"""


def add_arguments(parser: ArgumentParser) -> None:
    add_backend_argument(parser)


def handle(command: BaseCommand, *, backend: str | None, **_: Any) -> None:
    with named_errors():
        found = shared_backend(backend_of(backend))
        site = found.mainspring_options.site or ""
        before = found.broker.beat([]).site or ""
        found.broker.adopt(site)
    command.stdout.write(
        f"The store of backend {found.alias!r} belonged to {_shown(before)}; it now belongs to {_shown(site)}."
    )


def _shown(site: str) -> str:
    return f"the site {site!r}" if site else "nobody"
