"""Durations as people write them: seconds, a timedelta, or a text such as "90s", "10m", "2h" or "7d"."""

import re
from datetime import timedelta
from math import isfinite

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

_TEXT = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])", re.ASCII)


def to_seconds(value: object) -> float:
    """Return a duration in seconds; raise ValueError for what is none. It may be negative."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, str) and (match := _TEXT.fullmatch(value.strip())):
        return float(match[1]) * UNITS[match[2]]
    # True is an int to Python, but nobody means one second by it.
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e18 and isfinite(value):
        return float(value)
    raise ValueError(f"expected seconds, a timedelta or a text like '90s', '10m', '2h' or '7d', got {value!r:.100}")
