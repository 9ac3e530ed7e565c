"""Values as people type them after a verb, and as they are shown to them."""

import json
from argparse import ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand

from mainspring.durations import to_seconds

# From this many seconds on an age is shown in this unit.
UNITS = ((2 * 86_400, 86_400, "d"), (2 * 3600, 3600, "h"), (120, 60, "min"), (0, 1, "s"))


def duration(text: str) -> float:
    """Return the seconds of "90", "90s", "10m", "2h" or "7d"."""
    try:
        seconds = to_seconds(_number_or_text(text))
    except ValueError:
        seconds = -1.0
    if seconds < 0:
        raise ArgumentTypeError(f"expected seconds, or a text like '90s', '10m', '2h' or '7d', got {text!r}")
    return seconds


def count(text: str) -> int:
    """Return a whole number that is not negative."""
    if not (text.isascii() and text.isdigit()):
        raise ArgumentTypeError(f"expected a whole number from 0 on, got {text!r}")
    return int(text)


def json_or_text(text: str) -> Any:
    """Return the value of a JSON text, and any other text as it is."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return text


def write_json(command: BaseCommand, value: Any) -> None:
    """Write one line of JSON to standard output."""
    command.stdout.write(json.dumps(value))
    command.stdout.flush()


def age(seconds: float | None) -> str:
    """Return an age for people: "0.4 s", "12 s", "3 min", "5 h", "8 d", or "-" for None."""
    if seconds is None:
        return "-"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    unit, name = next((unit, name) for least, unit, name in UNITS if seconds >= least)
    return f"{seconds / unit:.0f} {name}"


def number_of(number: int, noun: str) -> str:
    """Return "1 job", "2 jobs"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _number_or_text(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _refuse(constant: str) -> None:
    """NaN and Infinity are no JSON, although Python reads them."""
    raise ValueError(constant)
