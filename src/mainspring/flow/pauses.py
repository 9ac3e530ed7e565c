"""Pauses of limits, and how long somebody else has asked to wait."""

import time
from collections.abc import Iterable

from django.utils.http import parse_http_date

from mainspring.brokers.admission import Change
from mainspring.brokers.base import Broker
from mainspring.clock import SECOND
from mainspring.durations import to_seconds

LONGEST = 365 * 86_400.0  # seconds


def pause(broker: Broker, names: Iterable[str], seconds: float) -> None:
    """Let nothing start under limits for so many seconds at least."""
    until = broker.now() + round(min(seconds, LONGEST) * SECOND)
    for name in names:
        broker.change_limit(name, Change(paused_until=until))


def seconds_to_wait(value: object) -> float:
    """Return a duration, or what an HTTP header Retry-After says, in seconds; raise ValueError for neither."""
    if not isinstance(value, str):
        seconds = to_seconds(value)
    elif value.strip().isdecimal():
        seconds = float(value)
    elif "," in value:
        seconds = parse_http_date(value) - time.time()
    else:
        seconds = to_seconds(value)
    return min(max(seconds, 0.0), LONGEST)
