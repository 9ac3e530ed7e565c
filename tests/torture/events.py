"""The event log of a storm: one file to which every process appends, each event with one short write."""

import functools
import json
import os
import time
from typing import Any, NamedTuple

ENVIRONMENT = "MAINSPRING_TORTURE_LOG"


class Event(NamedTuple):
    """One line of the log. `at` is monotonic, which on one machine is the same clock for all processes."""

    kind: str
    job_id: str
    attempt: int
    pid: int
    at: float
    detail: Any


def write(kind: str, job_id: str = "", attempt: int = 0, detail: Any = None) -> float:
    """Append an event and return its moment."""
    event = Event(kind, job_id, attempt, os.getpid(), time.monotonic(), detail)
    # A kill can cut a write off where it crosses a page. The newline in front keeps the torn line to itself.
    os.write(_open(os.environ[ENVIRONMENT]), f"\n{json.dumps(event)}\n".encode())
    return event.at


def read(line: bytes) -> Event | None:
    """Return the event of a line, None for one that is empty or torn."""
    try:
        return Event(*json.loads(line))
    except (ValueError, TypeError):
        return None


@functools.cache
def _open(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
