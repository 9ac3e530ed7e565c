"""status: where jobs are and who runs them, for people and for scripts."""

from datetime import timedelta

import pytest
from django.core.management.base import CommandError
from django.utils import timezone

from mainspring import job as machine
from mainspring.brokers.base import WorkerInfo
from mainspring.commands import status
from mainspring.job import State
from mainspring.testing import travel
from tests.app import tasks


@pytest.fixture
def queues(mainspring):
    """Return the queues that --json shows, by name."""
    return lambda *words: {
        queue["name"]: queue
        for backend in mainspring("status", "--json", *words).json["backends"]
        for queue in backend["queues"]
    }


def test_every_queue_is_shown_even_when_it_is_empty(mainspring):
    assert mainspring("status").lines[2:6] == [
        "QUEUE READY DEFERRED RUNNING OLDEST READY SUCCEEDED 24 H FAILED 24 H",
        "default 0 0 0 - 0 0",
        "mail 0 0 0 - 0 0",
        "slow 0 0 0 - 0 0",
    ]


def test_jobs_are_counted_by_queue_and_state(mainspring, broker, ended):
    ended(State.SUCCEEDED)
    ended(State.FAILED)
    tasks.add.enqueue(1, 2)
    broker.claim("w1", ["default"], 1)
    tasks.add.using(run_after=timezone.now() + timedelta(hours=1)).enqueue(1, 2)
    tasks.mail.enqueue("ann@example.org")
    shown = mainspring("status").lines

    assert shown[3] == "default 0 1 1 - 1 1"
    assert shown[4].startswith("mail 1 0 0 0.")
    assert shown[4].endswith(" s 0 0")


def test_rare_states_get_a_column_when_some_job_is_in_them(mainspring, broker):
    broker.cancel([tasks.add.enqueue(1, 2).id])
    header, default, *_ = mainspring("status").lines[2:]

    assert header.endswith("FAILED 24 H CANCELLED 24 H")
    assert default.endswith("0 0 1")


def test_the_age_of_the_oldest_ready_job(mainspring, queues):
    tasks.add.enqueue(1, 2)
    with travel(3 * 3600):
        tasks.add.enqueue(3, 4)

        assert queues()["default"]["oldest_ready_age"] == pytest.approx(10_800, abs=30)
        assert queues()["mail"]["oldest_ready_age"] is None
        assert mainspring("status").lines[3] == "default 2 0 0 3 h 0 0"


def test_what_ended_a_day_ago_is_not_counted(queues, ended):
    ended(State.SUCCEEDED)

    assert queues()["default"]["ended"]["succeeded"] == 1
    with travel(86_401):
        assert queues()["default"]["ended"]["succeeded"] == 0


def test_a_queue_that_no_longer_stands_in_the_settings_is_marked(mainspring, queues, broker):
    """No worker serves it, so what is in there waits for ever."""
    at = broker.clock.moment()
    broker.push([machine.new_job(task_path="a.b", arguments="{}", queue_name="old", priority=0, at=at)])

    assert queues()["old"]["is_known"] is False
    assert queues()["mail"]["is_known"] is True
    assert any(line.startswith("old (not in QUEUES) 1 0 0") for line in mainspring("status").lines)


def test_without_workers_it_says_how_to_start_one(mainspring):
    assert mainspring("status").lines[-1] == "No worker is running. Start one: manage.py mainspring worker"


def test_workers(mainspring, beat):
    beat("w1")
    header, worker = mainspring("status").lines[-2:]

    assert header == "WORKER HOST PID SINCE LAST BEAT"
    assert worker.startswith("web-1 4711 20")
    assert worker.endswith(" s")


def test_a_worker_that_went_silent_is_marked(mainspring, beat):
    beat("w1")
    with travel(20):
        (worker,) = mainspring("status", "--json").json["backends"][0]["workers"]

        assert mainspring("status").lines[-1].endswith("20 s (silent)")
        assert (worker["is_alive"], round(worker["last_beat_age"])) == (False, 20)


def test_workers_of_a_strange_version_are_shown_too(mainspring, broker):
    """The facts are whatever the worker's version knew."""
    broker.beat([WorkerInfo(id="w1")])

    assert mainspring("status").lines[-1].startswith("w1 - 20")


def test_two_aliases_in_one_database_show_their_own_queues(mainspring, two_backends):
    """Rows say their queue, not their alias."""
    tasks.add.enqueue(1, 2)
    shown = mainspring("status", "--json").json["backends"]

    assert [(each["alias"], [queue["name"] for queue in each["queues"]]) for each in shown] == [
        ("default", ["default", "mail"]),
        ("reports", ["reports"]),
    ]


def test_one_backend(mainspring, two_backends):
    assert [each["alias"] for each in mainspring("status", "--json", "--backend", "reports").json["backends"]] == [
        "reports"
    ]


def test_an_unknown_backend_is_named_with_the_nearest(mainspring):
    with pytest.raises(CommandError, match="TASKS has no Mainspring backend 'defualt'; did you mean 'default'"):
        mainspring("status", "--backend", "defualt")


def test_jobs_in_memory_cannot_be_seen_from_here(mainspring):
    with pytest.raises(CommandError, match=r"TASKS\['memory'\] keeps its jobs in the memory of the process"):
        mainspring("status", "--backend", "memory")


def test_times_are_iso(mainspring, beat):
    beat("w1")
    shown = mainspring("status", "--json").json

    assert shown["at"].endswith("+00:00")
    assert shown["backends"][0]["workers"][0]["started_at"][:4] == shown["at"][:4]


def test_every_key_is_documented(mainspring, beat):
    beat("w1")

    assert {key for key in keys(mainspring("status", "--json").json) if key not in status.EXAMPLES} == set()


def test_a_store_that_is_away(mainspring, away):
    with pytest.raises(CommandError, match="connection refused"):
        mainspring("status")


@pytest.fixture
def pauses(monkeypatch):
    """The pauses of a watch, which ends by Ctrl-C in the third."""
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(status.time, "sleep", pause)
    return pauses


def test_watch_shows_it_again_until_ctrl_c(mainspring, pauses):
    shown = mainspring("status", "--watch")

    assert shown.out.count("Backend 'default' at") == 3
    assert pauses == [2.0] * 3


def test_watch_as_json_is_a_line_each_time(mainspring, pauses):
    assert len(mainspring("status", "--json", "--watch", "0.5").lines) == 3
    assert pauses == [0.5] * 3


def test_a_store_that_is_away_does_not_end_the_watch(mainspring, pauses, away, monkeypatch):
    """The watch is what one looks at while the database restarts."""
    pause = status.time.sleep

    def come_back(seconds):
        away()
        pause(seconds)

    monkeypatch.setattr(status.time, "sleep", come_back)
    shown = mainspring("status", "--watch")

    assert shown.err.count("connection refused") == 1
    assert shown.out.count("Backend 'default' at") == 2


def keys(value):
    """Return all keys of a JSON value, however deep."""
    if isinstance(value, dict):
        return set(value).union(*map(keys, value.values()))
    return set().union(*map(keys, value)) if isinstance(value, list) else set()
