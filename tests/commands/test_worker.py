"""What `mainspring worker` refuses before anything is started; tests/processes starts it."""

import pytest
from django.core.management.base import CommandError

from mainspring.commands import worker


@pytest.fixture
def started(monkeypatch):
    """The plans that would have become supervisors."""
    plans = []
    monkeypatch.setattr(worker, "_become_supervisor", plans.append)
    monkeypatch.setattr(worker.connections, "close_all", lambda: None)  # the test is in a transaction
    return plans


@pytest.fixture
def every_name(settings):
    """QUEUES allows every name."""
    settings.TASKS = {"default": {**settings.TASKS["default"], "QUEUES": []}}


def test_exclude_needs_a_list_to_exclude_from(mainspring, started, every_name):
    """Where QUEUES allows every name nobody knows what is left; the message says both ways out."""
    with pytest.raises(CommandError) as refused:
        mainspring("worker", "--exclude", "slow")

    assert str(refused.value) == (
        "TASKS['default']['QUEUES'] is empty, which allows every name, so there is no list to exclude from; name the "
        "queues to serve with --queues, or list all of them in QUEUES."
    )
    assert started == []


def test_exclude_as_an_option_needs_one_too(mainspring, started, every_name, settings):
    """What the settings exclude is refused by the same words."""
    settings.TASKS = {"default": {**settings.TASKS["default"], "OPTIONS": {"exclude": ["slow"]}}}

    with pytest.raises(CommandError, match="there is no list to exclude from"):
        mainspring("worker")
    assert started == []


def test_exclude_from_named_queues(mainspring, started, every_name):
    """The way out that the message names."""
    mainspring("worker", "--queues", "mail, slow", "--exclude", "slow")

    assert [plan.queues for plan in started] == [["mail"]]


@pytest.mark.parametrize("flags", [["--exclude", "default,mail,slow"], ["--queues", "mail", "--exclude", "mail"]])
def test_a_worker_that_no_queue_is_left_for(mainspring, started, flags):
    """It would idle for ever."""
    with pytest.raises(CommandError, match="No queue is left to serve"):
        mainspring("worker", *flags)
    assert started == []


@pytest.mark.parametrize(("flag", "meant"), [("--queues", "mail"), ("--exclude", "slow")])
def test_a_misspelt_queue(mainspring, started, flag, meant):
    """The nearest name is offered."""
    with pytest.raises(CommandError, match=f"has no queue '{meant}x'; did you mean '{meant}'?"):
        mainspring("worker", flag, f"{meant}x")
    assert started == []


def test_misspelt_options_are_named_all_at_once(mainspring, started, settings):
    """The worker does not start with half of what was meant."""
    settings.TASKS = {"default": {**settings.TASKS["default"], "OPTIONS": {"treads": 2, "max_attempts": "many"}}}

    with pytest.raises(CommandError, match=r"'treads'; did you mean 'threads'\?\n.*\['max_attempts'\]: expected"):
        mainspring("worker")
    assert started == []


def test_the_value_of_a_flag_is_checked_as_the_option_s(mainspring, started):
    """The flag is named, and what it takes."""
    with pytest.raises(CommandError, match="--processes: expected a whole number .*, got 'some'"):
        mainspring("worker", "--processes", "some")
    assert started == []


def test_jobs_in_memory_have_no_worker(mainspring, started):
    """Nobody else can reach them."""
    with pytest.raises(CommandError, match=r"mainspring\.testing\.drain\(\) in tests"):
        mainspring("worker", "--backend", "memory")
    assert started == []
