"""health: one answer, and one line that says why."""

import os
import subprocess
import sys
from datetime import timedelta

import pytest
from django.core.management.base import CommandError

from mainspring.commands import health
from mainspring.testing import travel
from tests.app import tasks


def test_a_living_worker_is_enough(mainspring, beat):
    beat("w1")
    answer = mainspring("health")

    assert (answer.code, answer.out) == (0, "healthy: default: 1 worker, 0 jobs ready\n")


def test_no_worker(mainspring):
    answer = mainspring("health")

    assert (answer.code, answer.out) == (
        1,
        "unhealthy: default: no worker has beaten within 15 s, expected 1 or more\n",
    )


def test_a_worker_counts_until_its_beat_is_as_old_as_rescue_after(mainspring, beat):
    beat("w1")
    with travel(10):
        assert mainspring("health").code == 0
    with travel(15):
        assert mainspring("health").code == 1


def test_too_few_workers(mainspring, beat):
    beat("w1", "w2")

    assert mainspring("health", "--workers", "2").code == 0
    assert mainspring("health", "--workers", "3").out == (
        "unhealthy: default: 2 workers have beaten within 15 s, expected 3 or more\n"
    )


def test_without_workers_the_store_is_enough(mainspring):
    """For the web server's container, which is not ill when the worker's is."""
    assert mainspring("health", "--no-workers").code == 0


def test_a_job_that_waits_too_long(mainspring):
    tasks.add.enqueue(1, 2)
    with travel(400):
        answer = mainspring("health", "--no-workers", "--max-age", "5m")

        assert (answer.code, answer.out) == (
            1,
            "unhealthy: default: a job has been ready for 7 min, expected at most 5 min\n",
        )
        assert mainspring("health", "--no-workers", "--max-age", "2h").code == 0


def test_a_deferred_job_has_waited_only_since_it_fell_due(mainspring, broker):
    """Or every reminder that was set a week ago would raise the alarm."""
    tasks.noop.using(run_after=timedelta(days=7)).enqueue()
    with travel(timedelta(days=7, seconds=20)):
        broker.promote(10)

        assert mainspring("health", "--no-workers", "--max-age", "5m").code == 0
        assert mainspring("health", "--no-workers", "--max-age", "10").code == 1


def test_too_many_ready_jobs_in_all_queues_together(mainspring):
    tasks.add.enqueue(1, 2)
    tasks.mail.enqueue("ann@example.org")

    assert mainspring("health", "--no-workers", "--max-backlog", "2").code == 0
    assert mainspring("health", "--no-workers", "--max-backlog", "1").out == (
        "unhealthy: default: 2 jobs ready, expected at most 1\n"
    )


def test_every_reason_is_named(mainspring):
    tasks.add.enqueue(1, 2)
    with travel(60):
        line = mainspring("health", "--max-age", "30", "--max-backlog", "0").out

    assert line.count("\n") == 1
    assert "no worker" in line
    assert "a job has been ready for 60 s, expected at most 30 s" in line
    assert "1 job ready" in line


def test_a_store_that_is_away_is_a_reason_in_one_line(mainspring, away):
    answer = mainspring("health", "--no-workers")

    assert (answer.code, answer.out) == (
        1,
        "unhealthy: default: DATABASES['default']: connection refused Is the server running?\n",
    )


def test_all_backends_must_be_healthy(mainspring, two_backends, beat):
    beat("w1", backend="default")
    answer = mainspring("health")

    assert (answer.code, answer.out) == (
        1,
        "unhealthy: reports: no worker has beaten within 15 s, expected 1 or more\n",
    )
    assert mainspring("health", "--backend", "default").code == 0


def test_json(mainspring, beat):
    beat("w1")
    answer = mainspring("health", "--json", "--workers", "2")

    assert answer.code == 1
    assert answer.json == {
        "is_healthy": False,
        "backends": [
            {
                "alias": "default",
                "is_healthy": False,
                "problems": ["1 worker has beaten within 15 s, expected 2 or more"],
                "workers": 1,
                "ready": 0,
                "oldest_ready_age": None,
            }
        ],
    }
    assert all(key in health.EXAMPLES for key in [*answer.json, *answer.json["backends"][0]])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--max-age", "soon"], "expected seconds, or a text like '90s', '10m', '2h' or '7d', got 'soon'"),
        (["--workers", "-1"], "expected a whole number from 0 on, got '-1'"),
        (["--max-backlog", "many"], "expected a whole number from 0 on, got 'many'"),
    ],
)
def test_what_cannot_be_meant_is_refused(mainspring, flags, message):
    with pytest.raises(CommandError, match=message):
        mainspring("health", *flags)


@pytest.mark.django_db(transaction=True)
def test_as_a_container_calls_it():
    """The exit status is all that a container looks at."""
    command = [sys.executable, "-m", "django", "mainspring", "--skip-checks", "health"]
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)

    assert (ended.returncode, ended.stderr) == (1, "")
    assert ended.stdout.startswith("unhealthy: default: no worker")
