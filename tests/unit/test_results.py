"""What a result shows of a stored job, without any store."""

import json
from datetime import UTC, datetime

import pytest

from mainspring import job as machine
from mainspring.compat import TaskResultStatus
from mainspring.job import State
from mainspring.results import STATUS, result_of
from tests.app import tasks

AT = 1_767_225_600_000_000  # 2026-01-01


def job(**changes):
    arguments = '{"args":[1],"kwargs":{"b":2}}'
    made = machine.new_job(task_path="tests.app.tasks.add", arguments=arguments, queue_name="mail", priority=3, at=AT)
    return made._replace(**changes)


@pytest.mark.parametrize("state", State)
def test_every_state_has_a_status_of_django(state):
    """What has not begun is READY, every end but success is FAILED."""
    expected = {State.RUNNING: "RUNNING", State.SUCCEEDED: "SUCCESSFUL"}.get(
        state, "FAILED" if state.is_end else "READY"
    )

    assert STATUS[state] == expected
    result = result_of(job(state=str(state)), "default")
    assert result.status is TaskResultStatus(expected)
    assert result.is_finished == state.is_end
    assert result.state == state


def test_everything_is_shown():
    """Moments become datetimes, texts become values."""
    result = result_of(job(run_after=AT + 1), "default")

    assert result.enqueued_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert (result.args, result.kwargs) == ([1], {"b": 2})
    assert result.task == tasks.add.using(
        queue_name="mail", priority=3, run_after=datetime(2026, 1, 1, microsecond=1, tzinfo=UTC)
    )


def test_nothing_is_decoded_before_it_is_asked_for(monkeypatch):
    """A worker makes a result for every job, and most are only logged."""

    def decode(*args):
        raise AssertionError("decoded")

    for name in ("decode_arguments", "decode_list", "decode_result"):
        monkeypatch.setattr(f"mainspring.results.{name}", decode)
    result = result_of(job(), "default")

    assert (result.id, result.status, result.task.name, result.attempts) == (result.id, "READY", "add", 0)
    with pytest.raises(AssertionError, match="decoded"):
        result.args  # noqa: B018


def test_what_is_shown_once_stays_the_same_object():
    """A task's arguments are those of its context."""
    result = result_of(job(), "default")

    assert result.args is result.args
    with pytest.raises(AttributeError):
        result.nonsense  # noqa: B018
    with pytest.raises(AttributeError):
        result.status = "READY"


def test_the_last_start_stands_in_for_a_first_that_was_not_stored():
    """The start of an attempt is stored when it ends, so a crash takes it along."""
    result = result_of(job(state="running", last_attempted_at=AT + 5, worker_id="w"), "default")

    assert result.started_at == result.last_attempted_at == datetime(2026, 1, 1, microsecond=5, tzinfo=UTC)
    assert result_of(job(started_at=AT, last_attempted_at=AT + 5), "default").started_at.microsecond == 0


@pytest.mark.parametrize("moment", ["x", [], 10**30, -(2**63), 253_402_300_799_999_999])
def test_what_is_no_moment_keeps_nothing_else_from_being_shown(moment, settings):
    """A row that somebody has damaged still says why its job failed."""
    settings.USE_TZ, settings.TIME_ZONE = False, "Asia/Tokyo"  # where the last moment of all is no date any more
    entry = machine.error_entry("builtins.ValueError", "boom", started_at=moment)
    result = result_of(job(state="failed", finished_at=moment, errors=json.dumps([entry])), "default")

    with pytest.raises(ValueError, match="is no "):
        _ = result.finished_at
    assert (result.errors[0].traceback, result.errors[0].started_at) == ("boom", None)
