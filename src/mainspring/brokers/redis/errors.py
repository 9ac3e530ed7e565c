"""What an error of Redis, or of its client, means to the caller of a broker."""

from collections.abc import Iterator
from contextlib import contextmanager

from redis import exceptions

from mainspring.exceptions import BrokerRefused, BrokerUnavailable, MainspringError

# What the server says first, and what can be done about it.
WAYS_OUT = {
    "OOM": "its memory is full: raise maxmemory, or let workers and `manage.py mainspring prune` make room. Jobs that"
    " are stored already still run.",
    "MISCONF": "it cannot write its snapshot or log to the disk, so it takes no writes; see its log.",
    "READONLY": "it is a replica; the URL must lead to the primary.",
    "NOAUTH": 'it wants a password: "redis://user:password@host:6379/0".',
    "WRONGPASS": "the user or the password in the URL is wrong.",
    "NOPERM": "its user may not do this; docs/reference/redis.md lists the rights that are needed.",
    "WRONGTYPE": "a key of Mainspring's holds something else; is its prefix used by another program?",
}


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Turn errors of the client inside into those of a broker; `place` tells which server it is."""
    try:
        yield
    except (exceptions.DataError, UnicodeError) as error:
        raise BrokerRefused(f"{place} cannot take a value: {error}") from error
    except (exceptions.RedisError, OSError) as error:
        raise _unavailable(place, error) from error


def _unavailable(place: str, error: Exception) -> MainspringError:
    text = str(error)
    for word, way_out in WAYS_OUT.items():
        if text.startswith(word) or f" {word} " in text or (word == "OOM" and "'maxmemory'" in text):
            return BrokerUnavailable(f"{place}: {way_out} It said: {text}")
    return BrokerUnavailable(f"{place}: {text or type(error).__name__}")
