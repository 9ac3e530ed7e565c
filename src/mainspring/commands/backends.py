"""How the verbs find the backend that they are about."""

from argparse import ArgumentParser

from django.core.management.base import CommandError

from mainspring.backends import MainspringBackend
from mainspring.compat import task_backends
from mainspring.conf import did_you_mean


def add_backend_argument(parser: ArgumentParser) -> None:
    parser.add_argument("--backend", metavar="ALIAS", help="alias in TASKS (default: the only one of Mainspring's)")


def add_backends_argument(parser: ArgumentParser) -> None:
    parser.add_argument("--backend", metavar="ALIAS", help="alias in TASKS (default: all of Mainspring's)")


def mainspring_backends() -> list[MainspringBackend]:
    """Return the project's backends that are Mainspring's."""
    return [backend for backend in task_backends.all() if isinstance(backend, MainspringBackend)]


def backend_of(alias: str | None) -> MainspringBackend:
    """Return the backend of an alias; None is "default" if that is Mainspring's, else the only one that is."""
    known = {backend.alias: backend for backend in mainspring_backends()}
    if not known:
        raise CommandError("TASKS has no backend of Mainspring; use 'BACKEND': 'mainspring.backends.DatabaseBackend'.")
    if alias is None:
        alias = "default" if "default" in known or len(known) > 1 else next(iter(known))
    if alias in known:
        return known[alias]
    raise CommandError(f"TASKS has no Mainspring backend {alias!r}{did_you_mean(alias, known)}")


def shared_backends(alias: str | None) -> list[MainspringBackend]:
    """Return the backend of an alias, or all of Mainspring's whose jobs other processes can see."""
    if alias is None:
        shared = [backend for backend in mainspring_backends() if backend.broker.is_shared]
        return shared or [shared_backend(backend_of(None))]
    return [shared_backend(backend_of(alias))]


def shared_backend(backend: MainspringBackend) -> MainspringBackend:
    """Return this backend if other processes can see its jobs."""
    if not backend.broker.is_shared:
        raise CommandError(
            f"TASKS[{backend.alias!r}] keeps its jobs in the memory of the process that enqueues them, where no "
            "command can see them. Use mainspring.backends.DatabaseBackend."
        )
    return backend
