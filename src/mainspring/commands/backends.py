"""How the verbs find the backend that they are about."""

from argparse import ArgumentParser

from django.core.management.base import CommandError

from mainspring.backends import MainspringBackend
from mainspring.compat import task_backends
from mainspring.conf import did_you_mean


def add_backend_argument(parser: ArgumentParser) -> None:
    parser.add_argument("--backend", metavar="ALIAS", help="the alias in TASKS (default: the only one of Mainspring's)")


def mainspring_backends() -> list[MainspringBackend]:
    """Return the project's backends that are Mainspring's."""
    return [backend for backend in task_backends.all() if isinstance(backend, MainspringBackend)]


def backend_of(alias: str | None) -> MainspringBackend:
    """Return the backend of an alias; None is "default" if that is Mainspring's, else the only one that is."""
    known = {backend.alias: backend for backend in mainspring_backends()}
    if not known:
        raise CommandError('No backend in TASKS is Mainspring\'s; set "BACKEND": "mainspring.backends.DatabaseBackend".')
    if alias is None:
        alias = "default" if "default" in known or len(known) > 1 else next(iter(known))
    if alias in known:
        return known[alias]
    raise CommandError(f"TASKS has no Mainspring backend {alias!r}{did_you_mean(alias, known)}")
