"""What goes wrong in a verb, as one line for the terminal instead of a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.core.management.base import CommandError
from django.db import DatabaseError, InterfaceError

from mainspring.compat import InvalidTask
from mainspring.exceptions import MainspringError

# What a store, or the driver of its database, may raise when it cannot be used.
TROUBLE = (MainspringError, DatabaseError, InterfaceError)


@contextmanager
def named_errors() -> Iterator[None]:
    """Raise CommandError for what Mainspring or a database raises on purpose; `--traceback` still shows the origin."""
    try:
        yield
    except (*TROUBLE, InvalidTask) as error:
        raise CommandError(str(error)) from error


def one_line(error: Exception) -> str:
    """Return the message of an error without its line breaks."""
    return " ".join(str(error).split()) or type(error).__name__
