"""limits: where they stand, and what an operator can change."""

import json

import pytest
from django.core.management.base import CommandError

from mainspring.testing import drain
from tests.app import tasks


@pytest.fixture
def charged(transactional_db):
    """Three jobs of two accounts have asked for their limits: two have run, and one waits for the rate."""
    for account in (1, 1, 2):
        tasks.charge.enqueue(account)
    assert drain() == 2


@pytest.mark.usefixtures("charged")
def test_all(mainspring):
    header, *rows = mainspring("limits").out.splitlines()

    assert header.split() == ["LIMIT", "CONCURRENCY", "RATE", "BY", "HELD", "PARKED", "PAUSED", "FOR"]
    assert [row.split()[0] for row in rows] == ["all", "stripe:1", "stripe:2"]
    assert rows[0].split() == ["all", "-", "2/60s", "code", "0", "1", "-"]


@pytest.mark.usefixtures("transactional_db")
def test_none(mainspring):
    assert mainspring("limits").out == "No limit has been asked for yet.\n"


@pytest.mark.usefixtures("charged")
def test_a_change_lets_jobs_run_and_lasts_until_it_is_taken_back(mainspring):
    assert "9/1s" in mainspring("limits", "all", "--rate", "9/s").out
    assert drain() == 1
    assert mainspring("limits", "all", "--concurrency", "2", "--rate", "none").out.split("\n")[1].split()[1:4] == [
        "2",
        "-",
        "run",
    ]
    assert "code" in mainspring("limits", "all", "--reset").out


@pytest.mark.usefixtures("charged")
def test_a_pause(mainspring):
    mainspring("limits", "stripe:1", "--pause", "10m")
    tasks.charge.enqueue(1)
    mainspring("limits", "all", "--concurrency", "5")

    assert drain() == 1
    shown = json.loads(mainspring("limits", "stripe:1", "--json").out)
    (limit,) = shown["limits"]
    assert (shown["alias"], limit["name"], limit["parked"]) == ("default", "stripe:1", 1)
    assert limit["paused_until"].endswith("+00:00")
    mainspring("limits", "stripe:1", "--resume")
    assert drain() == 1


@pytest.mark.usefixtures("charged")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stripes"], r"knows no limit 'stripes'"),
        (["--pause", "10"], r"--pause needs the name of a limit"),
        (["all", "--reset", "--rate", "1/s"], r"leave --concurrency and --rate out"),
        (["all", "--pause", "1", "--resume"], r"either --pause or --resume"),
        (["all", "--rate", "often"], r"a rate is a text like"),
        (["all", "--concurrency", "-1"], r"expected a whole number from 0 on|expected one argument"),
    ],
)
def test_mistakes(mainspring, arguments, message):
    with pytest.raises(CommandError, match=message):
        mainspring("limits", *arguments)
