"""prune: ended jobs go when they are old enough."""

import pytest
from django.core.management.base import CommandError

from mainspring.commands import prune
from mainspring.job import ENDS, State
from mainspring.testing import travel
from tests.app import tasks

DAY = 86_400


def test_by_the_retention_of_the_options(mainspring, ended, broker):
    """Successes are kept for 7 days, every other end for 30."""
    ended(State.SUCCEEDED, 2)
    ended(State.CANCELLED)
    with travel(8 * DAY):
        assert mainspring("prune").out == "default: 2 jobs deleted (2 succeeded).\n"
    with travel(31 * DAY):
        assert mainspring("prune").out == "default: 1 job deleted (1 cancelled).\n"
    assert broker.search() == []


def test_live_jobs_stay(mainspring, broker):
    tasks.noop.enqueue()
    with travel(100 * DAY):
        assert mainspring("prune", "--older-than", "0s").out == "default: 0 jobs deleted.\n"
    assert len(broker.search()) == 1


def test_older_than_goes_before_the_options(mainspring, ended, broker):
    ended(State.SUCCEEDED)
    ended(State.FAILED)
    with travel(2 * 3600):
        assert mainspring("prune", "--older-than", "3h").out == "default: 0 jobs deleted.\n"
        assert mainspring("prune", "--older-than", "1h").out == "default: 2 jobs deleted (1 failed, 1 succeeded).\n"


def test_only_these_states(mainspring, ended, broker):
    for state in sorted(ENDS):
        ended(state)
    with travel(100 * DAY):
        mainspring("prune", "--state", "failed", "--state", "expired")

    assert {job.state for job in broker.search()} == ENDS - {State.FAILED, State.EXPIRED}


def test_what_is_kept_for_ever_goes_only_when_told(mainspring, ended, settings):
    settings.TASKS = {
        "default": {
            **settings.TASKS["default"],
            "OPTIONS": settings.TASKS["default"]["OPTIONS"] | {"retention": {"succeeded": None}},
        }
    }
    ended(State.SUCCEEDED)
    with travel(1000 * DAY):
        assert mainspring("prune", "--state", "succeeded").out == "default: 0 jobs deleted.\n"
        assert mainspring("prune", "--older-than", "7d").out == "default: 1 job deleted (1 succeeded).\n"


def test_a_dry_run_counts_and_deletes_nothing(mainspring, ended, broker, monkeypatch):
    monkeypatch.setattr(prune, "BATCH", 2)
    ended(State.SUCCEEDED, 5)
    with travel(8 * DAY):
        assert mainspring("prune", "--dry-run").out == "default: 5 jobs would be deleted (5 succeeded).\n"
    assert len(broker.search()) == 5


@pytest.mark.parametrize("number", [3, 4])
def test_it_goes_on_until_all_are_gone(mainspring, ended, broker, monkeypatch, number):
    monkeypatch.setattr(prune, "BATCH", 2)
    ended(State.SUCCEEDED, number)
    with travel(8 * DAY):
        assert mainspring("prune").out == f"default: {number} jobs deleted ({number} succeeded).\n"
    assert broker.search() == []


def test_progress_is_for_terminals(mainspring, ended, monkeypatch):
    monkeypatch.setattr(prune, "BATCH", 2)
    ended(State.SUCCEEDED, 3)
    with travel(8 * DAY):
        assert mainspring("prune").err == ""
    ended(State.SUCCEEDED, 3)
    monkeypatch.setattr("django.core.management.base.OutputWrapper.isatty", lambda self: True)
    with travel(8 * DAY):
        assert mainspring("prune").err == "default: 2 succeeded\rdefault: 3 succeeded\n"


def test_json(mainspring, ended):
    ended(State.FAILED)
    shown = mainspring("prune", "--older-than", "0", "--state", "failed", "--dry-run", "--json").json

    assert shown == {
        "is_dry_run": True,
        "backends": [{"alias": "default", "pruned": {"failed": 1}, "total": 1}],
    }
    assert all(key in prune.EXAMPLES for key in [*shown, *shown["backends"][0]])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--state", "suceeded"], "'suceeded' is no state in which a job ends; did you mean 'succeeded'"),
        (["--state", "running"], "'running' is no state in which a job ends"),
        (["--older-than", "-1"], "expected seconds"),
        (["--older-than", "long"], "expected seconds, or a text like '90s', '10m', '2h' or '7d', got 'long'"),
    ],
)
def test_what_cannot_be_meant_is_refused(mainspring, flags, message):
    with pytest.raises(CommandError, match=message):
        mainspring("prune", *flags)


def test_a_store_that_is_away(mainspring, away):
    with pytest.raises(CommandError, match="connection refused"):
        mainspring("prune")
