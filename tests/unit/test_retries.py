"""Whether a job runs again after an error, and when."""

from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from mainspring.conf import parse
from mainspring.exceptions import Retry
from mainspring.retries import LONGEST, Backoff, delay_before, parse_backoff, parse_exceptions, retry_delay

OPTIONS = parse("default", {"OPTIONS": {"max_attempts": 3, "backoff": 5}})
ONE_ATTEMPT = parse("default", {})


@dataclass(frozen=True)
class Task:
    """What a task says about its retries: nothing, unless given."""

    max_attempts: int | None = None
    backoff: Any = None
    retry_on: Any = None
    give_up_on: Any = ()


def delays(policy, attempts=5, random=lambda: 0.0):
    error = ValueError()
    return [delay_before(parse_backoff(policy), attempt, error, random) for attempt in range(1, attempts + 1)]


# Backoff.


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("exponential", [2, 4, 8, 16, 32]),
        ("linear", [2, 4, 6, 8, 10]),
        ("fixed", [2, 2, 2, 2, 2]),
        (Backoff("exponential", base=1, factor=10, cap="1m"), [1, 10, 60, 60, 60]),
        (Backoff("linear", base=timedelta(seconds=30), cap=100), [30, 60, 90, 100, 100]),
        (7, [7, 7, 7, 7, 7]),
        ("10m", [600] * 5),
        (timedelta(seconds=1.5), [1.5] * 5),
        ([1, "1m", timedelta(hours=1)], [1, 60, 3600, 3600, 3600]),
        (lambda attempt, error: attempt * 10, [10, 20, 30, 40, 50]),
        (lambda attempt, error: None if attempt > 2 else "1m", [60, 60, None, None, None]),
    ],
)
def test_every_form_of_backoff(policy, expected):
    assert delays(policy) == expected


def test_exponential_growth_ends_at_the_cap():
    """A job that has failed ten thousand times waits an hour, and its arithmetic does not overflow."""
    assert delay_before(Backoff(), 10_000, ValueError(), lambda: 0.0) == 3600
    assert delay_before(Backoff(base=0, factor=1000), 10_000, ValueError(), lambda: 0.0) == 0


def test_jitter_takes_away_up_to_its_part():
    policy = Backoff("fixed", base=100, jitter=0.2)

    assert delays(policy, 1, lambda: 0.0) == [100]
    assert delays(policy, 1, lambda: 0.5) == [90]
    assert delays(policy, 1, lambda: 1.0) == [80]


def test_jitter_is_random_unless_told_otherwise():
    policy = Backoff("fixed", base=100, jitter=1)
    found = {delay_before(policy, 1, ValueError()) for _ in range(20)}

    assert len(found) > 1
    assert all(0 <= delay <= 100 for delay in found)


def test_durations_that_are_given_plainly_have_no_jitter():
    """Whoever writes 5 means 5."""
    assert delays([5], 3, random=lambda: 1.0) == [5, 5, 5]


def test_a_function_sees_the_attempt_and_the_exception():
    seen = []
    error = ValueError("boom")
    delay_before(lambda attempt, exception: seen.append((attempt, exception)), 4, error)

    assert seen == [(4, error)]


@pytest.mark.parametrize(("asked", "given"), [(-5, 0), (timedelta(days=-1), 0), (1e15, LONGEST)])
def test_a_computed_delay_is_kept_usable(asked, given):
    """`retry at noon` may be computed after noon."""
    assert delays(lambda attempt, error: asked, 1) == [given]


def test_a_function_that_returns_no_duration_is_named():
    with pytest.raises(ValueError, match=r"expected seconds.*got 'soon'"):
        delays(lambda attempt, error: "soon", 1)


async def later(attempt, error):
    return 5


@pytest.mark.parametrize("value", [None, True, -1, "soon", [], [1, "soon"], [-1], float("nan"), 1e12, {}, later])
def test_what_is_no_backoff_is_refused(value):
    with pytest.raises(ValueError, match=r"expected|empty|async"):
        parse_backoff(value)


@pytest.mark.parametrize(
    "facts",
    [
        {"kind": "cubic"},
        {"base": -1},
        {"base": "soon"},
        {"cap": True},
        {"factor": 0.5},
        {"jitter": 1.5},
        {"jitter": "x"},
    ],
)
def test_a_backoff_that_makes_no_sense_is_refused(facts):
    with pytest.raises(ValueError, match="expected"):
        Backoff(**facts)


def test_a_parsed_backoff_is_a_backoff():
    """Tasks may keep what was parsed."""
    for value in ("exponential", 5, [1, 2], lambda attempt, error: None):
        assert parse_backoff(parse_backoff(value)) == parse_backoff(value)


def test_growing_backoffs_never_shrink():
    for kind in ("exponential", "linear"):
        assert all(one <= other for one, other in pairwise(delays(kind, 50)))


# Retry or not.


def test_a_job_is_retried_until_its_attempts_are_used_up():
    assert [retry_delay(Task(), OPTIONS, attempt, ValueError()) for attempt in (1, 2, 3, 4)] == [5, 5, None, None]


def test_the_task_goes_before_the_options():
    task = Task(max_attempts=2, backoff=[1])

    assert [retry_delay(task, OPTIONS, attempt, ValueError()) for attempt in (1, 2)] == [1, None]


def test_without_any_setting_the_first_error_is_final():
    assert retry_delay(Task(), ONE_ATTEMPT, 1, ValueError()) is None


@pytest.mark.parametrize(
    ("facts", "error", "is_retried"),
    [
        ({}, KeyError(), True),
        ({"retry_on": (OSError,)}, ConnectionResetError(), True),
        ({"retry_on": (OSError,)}, KeyError(), False),
        ({"retry_on": ()}, KeyError(), False),
        ({"give_up_on": (LookupError,)}, KeyError(), False),
        ({"give_up_on": (LookupError,)}, ValueError(), True),
        ({"retry_on": (Exception,), "give_up_on": (KeyError,)}, KeyError(), False),
        ({"retry_on": (KeyError,), "give_up_on": (LookupError,)}, KeyError(), False),
    ],
)
def test_which_exceptions_are_retried(facts, error, is_retried):
    """Giving up goes before retrying."""
    assert (retry_delay(Task(**facts), OPTIONS, 1, error) is not None) is is_retried


@pytest.mark.parametrize("error", [SystemExit(), KeyboardInterrupt(), GeneratorExit()])
def test_an_exit_is_retried_only_by_name(error):
    assert retry_delay(Task(), OPTIONS, 1, error) is None
    assert retry_delay(Task(retry_on=(type(error),)), OPTIONS, 1, error) == 5


# raise Retry.


def test_raising_retry_needs_no_setting():
    assert retry_delay(Task(), ONE_ATTEMPT, 500, Retry(delay="10m")) == 600


def test_a_retry_without_a_delay_waits_for_the_backoff():
    assert retry_delay(Task(backoff=[1, 2]), ONE_ATTEMPT, 2, Retry()) == 2
    assert retry_delay(Task(), OPTIONS, 9, Retry()) == 5


def test_the_task_s_own_attempts_limit_its_retries():
    task = Task(max_attempts=2)

    assert [retry_delay(task, OPTIONS, attempt, Retry(delay=1)) for attempt in (1, 2)] == [1, None]


def test_raising_retry_goes_before_the_lists():
    """Who raises it knows better than the decorator did."""
    assert retry_delay(Task(retry_on=(OSError,), give_up_on=(Exception,)), OPTIONS, 1, Retry(delay=0)) == 0


@pytest.mark.parametrize(("asked", "given"), [(-1, 0), (timedelta(seconds=-1), 0), (0, 0), (1e15, LONGEST)])
def test_the_delay_of_a_retry_is_kept_usable(asked, given):
    assert retry_delay(Task(), OPTIONS, 1, Retry(delay=asked)) == given


def test_a_retry_follows_a_backoff_that_says_no_more():
    assert retry_delay(Task(backoff=lambda attempt, error: None), OPTIONS, 1, Retry()) is None


# Exception classes.


def test_one_exception_class_or_several():
    assert parse_exceptions(OSError) == (OSError,)
    assert parse_exceptions([OSError, KeyError]) == (OSError, KeyError)
    assert parse_exceptions({SystemExit}) == (SystemExit,)
    assert parse_exceptions(()) == ()


@pytest.mark.parametrize("value", [None, "OSError", ["OSError"], OSError(), [int], 5])
def test_what_is_no_exception_class_is_refused(value):
    with pytest.raises(ValueError, match="expected exception classes"):
        parse_exceptions(value)
