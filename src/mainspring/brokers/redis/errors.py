"""What an error of Redis, or of its client, means to the caller of a broker."""

from collections.abc import Iterator
from contextlib import contextmanager

from redis import exceptions

from mainspring.exceptions import BrokerRefused, BrokerUnavailable

FULL = (
    "its memory is full: raise maxmemory, or let workers and `manage.py mainspring prune` make room. What is stored"
    " still runs."
)
FORBIDDEN = "its user may not do this; docs/reference/redis.md lists the rights that are needed."
REPLICA = "it is a replica; the URL must lead to the primary."
# By the class that the client makes of an error and, as one inside a script has none of its own, by words in its text.
WAYS_OUT: tuple[tuple[type[Exception], str, str], ...] = (
    (exceptions.AuthenticationError, "", "it wants another user or password: redis://user:password@host:6379/0."),
    (exceptions.NoPermissionError, "", FORBIDDEN),
    (exceptions.ReadOnlyError, "", REPLICA),
    (exceptions.ResponseError, "'maxmemory'", FULL),
    (exceptions.ResponseError, "NOPERM", FORBIDDEN),
    (exceptions.ResponseError, "ACL failure", FORBIDDEN),
    (exceptions.ResponseError, "can't run this command", FORBIDDEN),
    (exceptions.ResponseError, "can't publish to the channel", FORBIDDEN),
    (exceptions.ResponseError, "READONLY", REPLICA),
    (exceptions.ResponseError, "MISCONF", "it cannot write to its disk and takes no writes; its log says why."),
    (exceptions.ResponseError, "WRONGTYPE", "a key holds something else; is its prefix used by another program?"),
)


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Turn errors of the client inside into those of a broker; `place` tells which server it is."""
    try:
        yield
    except (exceptions.DataError, UnicodeError) as error:
        raise BrokerRefused(f"{place} cannot take a value: {error}") from error
    except (exceptions.RedisError, exceptions.RedisClusterException, OSError) as error:
        raise BrokerUnavailable(_told(place, error)) from error


def _told(place: str, error: Exception) -> str:
    text = str(error) or type(error).__name__
    for kind, words, way_out in WAYS_OUT:
        if isinstance(error, kind) and words in text:
            return f"{place}: {way_out} It said: {text}"
    return f"{place}: {text}"
