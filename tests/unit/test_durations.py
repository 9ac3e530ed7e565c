"""Durations as people write them."""

from datetime import timedelta

import pytest

from mainspring.durations import to_seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (0, 0),
        (90, 90),
        (0.5, 0.5),
        (timedelta(minutes=1, milliseconds=5), 60.005),
        ("90s", 90),
        ("10m", 600),
        ("2h", 7200),
        ("1.5h", 5400),
        (" 7 d ", 604_800),
        (timedelta(seconds=-5), -5),
    ],
)
def test_a_duration_is_a_number_a_timedelta_or_a_text(value, seconds):
    assert to_seconds(value) == seconds


@pytest.mark.parametrize(
    "value",
    [True, None, "", "soon", "10", "10 minutes", "-5s", "٣s", b"5s", [5], float("nan"), float("inf"), 10**400],
)
def test_anything_else_is_refused_by_name(value):
    """A number in quotes has no unit, so nobody can know what it means."""
    with pytest.raises(ValueError, match="expected seconds, a timedelta or a text like"):
        to_seconds(value)
