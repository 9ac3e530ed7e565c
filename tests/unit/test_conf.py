"""The options: what they accept, what is refused and in which words, and that the reference says the same."""

import re
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest

from mainspring import conf, kinds
from mainspring.conf import OPTIONS, Options, did_you_mean, options_for, parse, problems_of
from mainspring.exceptions import InvalidOptions
from mainspring.retries import Backoff

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "options.md"
DURATION = "seconds, a timedelta or a text like '90s', '10m', '2h' or '7d'"


def read(**options):
    return parse("default", {"OPTIONS": options})


def problem(**options):
    """Return the one problem of these options."""
    (found,) = problems_of("default", {"OPTIONS": options})
    return found


# What is accepted.


def test_without_options_every_default_holds():
    options = parse("default", {})

    assert (options.max_attempts, options.threads, options.async_jobs, options.processes) == (1, 4, 100, 1)
    assert (options.rescue_after, options.keep_succeeded, options.keep_failed) == (15, 604_800, 2_592_000)
    assert (options.serve, options.exclude, options.backoff) == (None, (), Backoff())


@pytest.mark.parametrize("option", OPTIONS.values(), ids=OPTIONS)
def test_a_default_may_be_written_down(option):
    """The table's defaults are values that a project could give."""
    assert read(**{option.name: option.default}) == parse("default", {})


@pytest.mark.parametrize(
    ("options", "field", "expected"),
    [
        ({"database": "default"}, "database", "default"),
        ({"on_commit": True}, "on_commit", True),
        ({"max_attempts": 5}, "max_attempts", 5),
        ({"backoff": ["1s", "1m"]}, "backoff", (1, 60)),
        ({"max_crashes": 0}, "max_crashes", 0),
        ({"rescue_after": "1m"}, "rescue_after", 60),
        ({"rescue_after": timedelta(minutes=2)}, "rescue_after", 120),
        ({"shutdown_timeout": 0}, "shutdown_timeout", 0),
        ({"retention": {"succeeded": "1h"}}, "keep_succeeded", 3600),
        ({"retention": {"succeeded": "1h"}}, "keep_failed", 2_592_000),
        ({"retention": {"failed": None}}, "keep_failed", None),
        ({"serve": ["mail"]}, "serve", ("mail",)),
        ({"exclude": ("slow",)}, "exclude", ("slow",)),
        ({"threads": 0}, "threads", 0),
        ({"async": 0}, "async_jobs", 0),
        ({"max_jobs": 1000}, "max_jobs", 1000),
        ({"max_idle": "10m"}, "max_idle", 600),
        ({"drain": True}, "drain", True),
        ({"max_payload": 10_000}, "max_payload", 10_000),
        ({"max_traceback": 1000}, "max_traceback", 1000),
        ({"task_modules": ["lib.tasks"]}, "task_modules", ("lib.tasks",)),
        ({"flush_after": 0}, "flush_after", 0),
        ({"flush_jobs": 1}, "flush_jobs", 1),
    ],
)
def test_an_option_becomes_a_field(options, field, expected):
    assert getattr(read(**options), field) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, 3),
        ("auto", 4),
        ("cores*1", 4),
        ("cores*2", 8),
        ("cores*0.5", 2),
        ("cores*0.1", 1),
        (f"cores*{'9' * 400}", 1000),
    ],
)
def test_processes_may_follow_the_cores(monkeypatch, value, expected):
    monkeypatch.setattr(kinds, "cores", lambda: 4)

    assert read(processes=value).processes == expected


def test_cores_are_counted():
    assert kinds.cores() >= 1


@pytest.mark.parametrize(("quota", "expected"), [("max 100000", 8), ("250000 100000", 2), ("50000 100000", 1)])
def test_a_container_s_quota_limits_its_cores(monkeypatch, quota, expected):
    """A container with two cores' time on a machine of 64 must not start 64 processes."""
    monkeypatch.setattr(kinds.os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(kinds.Path, "read_text", lambda path: quota)

    assert kinds.cores() == expected


# What is refused, and in which words.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_atempts": 3}, "unknown option 'max_atempts'; did you mean 'max_attempts'?"),
        ({"MAX_ATTEMPTS": 3}, "unknown option 'MAX_ATTEMPTS'; did you mean 'max_attempts'?"),
        ({"thread": 3}, "unknown option 'thread'; did you mean 'threads'?"),
    ],
)
def test_an_unknown_option_is_named_with_the_nearest(options, message):
    assert problem(**options) == f"TASKS['default'] OPTIONS: {message}"


def test_a_word_like_none_of_them_gets_the_list():
    assert problem(colour="red").startswith("TASKS['default'] OPTIONS: unknown option 'colour'; there is async, ")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("threads", "four", "a whole number from 0 to 256, got 'four'"),
        ("threads", 257, "a whole number from 0 to 256, got 257"),
        ("threads", True, "a whole number from 0 to 256, got True"),
        ("threads", 4.0, "a whole number from 0 to 256, got 4.0"),
        ("max_attempts", 0, "a whole number from 1 to 1,000,000, got 0"),
        ("on_commit", 1, "True or False, or None, got 1"),
        ("database", "nowhere", "the name of one of DATABASES, or None, got 'nowhere'"),
        ("rescue_after", 4, f"{DURATION}, from 5s to 1h, got 4"),
        ("rescue_after", "soon", f"{DURATION}, from 5s to 1h, got 'soon'"),
        ("rescue_after", "2h", f"{DURATION}, from 5s to 1h, got '2h'"),
        ("shutdown_timeout", True, f"{DURATION}, from 0s to 1d, got True"),
        ("shutdown_timeout", float("nan"), f"{DURATION}, from 0s to 1d, got nan"),
        (
            "retention",
            {"success": 3},
            "a dict with 'succeeded' and 'failed', each a duration or None, got {'success': 3}",
        ),
        ("retention", "7d", "a dict with 'succeeded' and 'failed', each a duration or None, got '7d'"),
        ("serve", "mail", "a list of queue names (texts of 1 to 100 characters), or None, got 'mail'"),
        ("serve", [""], "a list of queue names (texts of 1 to 100 characters), or None, got ['']"),
        ("exclude", None, "a list of queue names (texts of 1 to 100 characters), got None"),
        (
            "processes",
            "cores*x",
            "a whole number from 1 to 1,000, 'auto' (one for each core) or 'cores*N', got 'cores*x'",
        ),
        ("task_modules", ["lib/tasks.py"], "a list of dotted module names, got ['lib/tasks.py']"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(name, value, expected):
    assert problem(**{name: value}) == f"TASKS['default'] OPTIONS[{name!r}]: expected {expected}."


@pytest.mark.parametrize("value", ["often", [], None, -1, object()])
def test_a_wrong_backoff_is_answered_with_every_form(value):
    assert problem(backoff=value).startswith(
        "TASKS['default'] OPTIONS['backoff']: expected 'exponential', 'linear', 'fixed', a Backoff, a duration, a list"
    )


def test_a_long_value_is_cut():
    assert len(problem(database="x" * 10_000)) < 300


def test_all_problems_come_at_once():
    with pytest.raises(InvalidOptions) as caught:
        parse("mail", {"OPTIONS": {"treads": 1, "threads": "one", "drain": 0}})

    lines = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "TASKS['mail'] OPTIONS",
        "TASKS['mail'] OPTIONS['threads']",
        "TASKS['mail'] OPTIONS['drain']",
    ]


@pytest.mark.parametrize("given", [None, [], "threads=4"])
def test_options_that_are_no_dict(given):
    assert problems_of("default", {"OPTIONS": given}) == [f"TASKS['default'] OPTIONS: expected a dict, got {given!r}."]


def test_a_worker_must_be_able_to_run_something():
    assert "nothing could run" in problem(threads=0, **{"async": 0})


def test_did_you_mean_with_nothing_known():
    assert did_you_mean("mail", []) == "; there is none."


# Reading them from the settings.


def test_options_are_read_once(settings):
    settings.TASKS = {"default": {"BACKEND": "mainspring.backends.MemoryBackend", "OPTIONS": {"threads": 2}}}

    assert options_for("default").threads == 2
    assert options_for("default") is options_for("default")


def test_changed_settings_are_read_again(settings):
    settings.TASKS = {"default": {"BACKEND": "mainspring.backends.MemoryBackend", "OPTIONS": {"threads": 2}}}
    options_for("default")
    settings.TASKS = {"default": {"BACKEND": "mainspring.backends.MemoryBackend", "OPTIONS": {"threads": 3}}}

    assert options_for("default").threads == 3


def test_an_unknown_alias_is_named():
    with pytest.raises(InvalidOptions, match="TASKS has no 'defualt'; did you mean 'default'"):
        options_for("defualt")


# The table.


def test_every_field_comes_from_the_table():
    of_the_table = set(conf._fields({name: option.kind.read(option.default) for name, option in OPTIONS.items()}))

    assert of_the_table == {field.name for field in fields(Options)}


def test_the_reference_has_the_table():
    """docs/reference/options.md repeats the table word for word."""
    rows = [line for line in PAGE.read_text().splitlines() if re.match(r"\| `\w+` \|", line)]

    assert rows == [
        f"| `{option.name}` | `{option.default!r}` | {option.kind.accepts} | {option.help} |"
        for option in OPTIONS.values()
    ]
