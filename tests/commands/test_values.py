"""What people type and read: durations, counts, ages and tables."""

from argparse import ArgumentTypeError

import pytest

from mainspring.commands.table import table
from mainspring.commands.values import age, count, duration, number_of


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("0.5", 0.5), ("90s", 90), ("10m", 600), ("2h", 7200), ("7d", 604_800), ("0", 0)]
)
def test_durations(text, seconds):
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "-1s", "ten", "10 weeks", "nan", "inf", "1e400", "1_0x", "2d12h"])
def test_what_is_no_duration(text):
    with pytest.raises(ArgumentTypeError, match="expected seconds, or a text like '90s'"):
        duration(text)


def test_counts():
    assert count("12") == 12


@pytest.mark.parametrize("text", ["", "-1", "1.5", "²", "many"])
def test_what_is_no_count(text):
    with pytest.raises(ArgumentTypeError, match="expected a whole number from 0 on"):
        count(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "120 min"),
        (7200, "2 h"),
        (172_800, "2 d"),
        (8_640_000, "100 d"),
    ],
)
def test_ages(seconds, text):
    assert age(seconds) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0 jobs"), (1, "1 job"), (1234, "1,234 jobs")])
def test_numbers_of_things(number, text):
    assert number_of(number, "job") == text


def test_a_table_aligns_numbers_to_the_right():
    rows = [["mail", 1_234_567, 0.25, "2 min"], ["reports of today", 1, None, "-"]]

    assert table(["QUEUE", "READY", "MS", "AGE"], rows).splitlines() == [
        "QUEUE                 READY   MS  AGE",
        "mail              1,234,567  0.2  2 min",
        "reports of today          1    -  -",
    ]


def test_a_table_without_rows_is_its_header():
    assert table(["QUEUE", "READY"], []) == "QUEUE  READY"
