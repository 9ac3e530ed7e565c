"""worker: what its flags ask for, and what is said about those that cannot be meant."""

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from mainspring.commands import worker


@pytest.fixture
def plan(monkeypatch):
    """Call the verb up to where it would become a supervisor, and return what that one would do."""

    def plan(*words):
        plans = []
        monkeypatch.setattr(worker, "_become_supervisor", plans.append)
        call_command("mainspring", "worker", *words)
        return plans[0]

    return plan


def test_without_flags_the_options_decide(plan):
    assert (plan().flags, plan().queues) == ({}, ["default", "mail", "slow"])


def test_flags_go_before_the_options(plan):
    flags = ["--threads", "2", "--processes", "cores*1", "--max-idle", "0.5", "--async=0", "--max-jobs=9", "--drain"]

    assert plan(*flags).flags == {
        "threads": 2,
        "processes": "cores*1",
        "max_idle": 0.5,
        "async": 0,
        "max_jobs": 9,
        "drain": True,
    }


def test_queues_are_named_with_commas(plan):
    assert plan("--queues", "slow, mail").queues == ["slow", "mail"]
    assert plan("--exclude", "slow").queues == ["default", "mail"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--threads", "four"], "argument --threads: expected a whole number from 0 to 256, got 'four'"),
        (["--threads", "999"], "argument --threads: expected a whole number from 0 to 256, got 999"),
        (["--processes", "all"], "argument --processes: expected a whole number from 1 to 1,000, 'auto'"),
        (["--max-idle", "3x"], "argument --max-idle: expected seconds, a timedelta or a text like '90s'"),
        (["--queues", ""], "argument --queues: expected names of queues with commas between them, got ''"),
        (["--exclude", ","], "argument --exclude: expected names of queues with commas between them, got ','"),
        (["--queues", "mial"], r"TASKS\['default'\]\['QUEUES'\] has no queue 'mial'; did you mean 'mail'"),
        (
            ["--exclude", "default,mail,slow"],
            "No queue is left to serve; leave one out of --exclude: default, mail, slow",
        ),
        (["--threads", "0", "--async", "0"], "'threads' and 'async' are both 0; nothing could run"),
        (["--backend", "defualt"], "TASKS has no Mainspring backend 'defualt'; did you mean 'default'"),
        (["--backend", "memory"], r"TASKS\['memory'\] keeps its jobs in the memory"),
    ],
)
def test_what_cannot_be_meant_is_named(plan, words, message):
    with pytest.raises(CommandError, match=message):
        plan(*words)


def test_nothing_can_be_excluded_from_every_name(plan, settings):
    """An empty QUEUES allows every name, and none of them is written down; named queues are a list again."""
    settings.TASKS = {"default": {**settings.TASKS["default"], "QUEUES": []}}

    with pytest.raises(CommandError, match="there is no list to exclude from"):
        plan("--exclude", "slow")
    assert plan("--queues", "mail, slow", "--exclude", "slow").queues == ["mail"]


def test_what_the_settings_exclude_is_refused_by_the_same_words(plan, settings):
    """An option is no better than a flag."""
    settings.TASKS = {
        "default": {
            **settings.TASKS["default"],
            "QUEUES": [],
            "OPTIONS": settings.TASKS["default"]["OPTIONS"] | {"exclude": ["slow"]},
        }
    }

    with pytest.raises(CommandError, match="there is no list to exclude from"):
        plan()


def test_wrong_options_are_an_answer_and_no_traceback(plan, settings):
    """The system checks say so first, but they can be skipped."""
    settings.TASKS = {"default": {**settings.TASKS["default"], "OPTIONS": {"thread": 3}}}

    with pytest.raises(CommandError, match="unknown option 'thread'; did you mean 'threads'"):
        plan()


def test_the_settings_must_be_found_by_other_processes(monkeypatch):
    """Settings from `settings.configure()` live in this process alone."""
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)

    with pytest.raises(CommandError, match="DJANGO_SETTINGS_MODULE, by which they find the settings, is not set"):
        call_command("mainspring", "worker")
