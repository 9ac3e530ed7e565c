"""Many worker processes at once and no crash: every job runs exactly once."""

import os
from collections import Counter

import pytest

from mainspring import enqueue_many
from mainspring.job import LIVE, State
from tests.processes.conftest import wait_until
from tests.torture import events, tasks

JOBS = int(os.environ.get("MAINSPRING_TEST_JOBS", "20000"))
BATCH = 1000
WITHIN = 100.0  # a few thousand a second are usual


@pytest.mark.parametrize(("commands", "processes"), [(4, 2), (1, 8)])
def test_eight_processes_run_each_job_once(start_worker, broker, tmp_path, monkeypatch, commands, processes):
    """No claim takes what another has taken, also when all of them claim at once."""
    log = tmp_path / "events"
    monkeypatch.setenv(events.ENVIRONMENT, str(log))
    workers = [start_worker("--processes", str(processes)) for _ in range(commands)]
    for worker in workers:
        worker.wait_for_line("is ready", processes)

    results = [result for _ in range(0, JOBS, BATCH) for result in enqueue_many(tasks.once, [()] * BATCH)]
    wait_until(lambda: not broker.search(states=LIVE, limit=1), WITHIN)

    ran = [event for event in map(events.read, log.read_bytes().splitlines()) if event]
    assert Counter(event.job_id for event in ran) == Counter(result.id for result in results)
    succeeded = broker.search(states=[State.SUCCEEDED], limit=2 * JOBS)
    assert (len(succeeded), {job.attempts for job in succeeded}) == (len(results), {1})
    assert len({event.pid for event in ran}) > 4, "most of the eight should have found work"
