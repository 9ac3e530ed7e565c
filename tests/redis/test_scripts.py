"""Scripts that a server has forgotten, and how many round trips the hot path takes."""

import subprocess
import sys

from tests.contract import jobs

DANISH = "da_DK.UTF-8"


def calls(redis):
    """How often each command was called from outside of scripts so far."""
    stats = redis.info("commandstats")
    return {name.removeprefix("cmdstat_"): entry["calls"] for name, entry in stats.items()}


def test_a_flush_of_all_scripts_is_not_noticed(broker, redis):
    """They are loaded again with the next call."""
    (job,) = jobs.claimed(broker)
    redis.script_flush()

    assert broker.settle([jobs.succeeded(broker, job)]) == {job.id}
    assert broker.get(job.id).state == "succeeded"


def test_many_jobs_take_one_round_trip(broker, redis):
    """A push, a claim and a settle, of a hundred jobs each."""
    jobs.finished(broker)  # the scripts are there
    redis.config_resetstat()
    jobs.finished(broker, 100)

    assert calls(redis)["evalsha"] == 3
    assert "eval" not in calls(redis)


def test_to_look_in_vain_costs_one_round_trip_whatever_waits(broker, redis):
    """Deferred jobs are out of the claim's sight, and so are those of tasks that a worker does not know."""
    jobs.pushed(broker, 50, run_after=broker.clock.moment() + 3600 * 1_000_000)
    jobs.pushed(broker, 50, task_path="app.tasks.unknown")
    broker.claim("w1", None, 10, ["app.tasks.unknown"])
    redis.config_resetstat()

    assert broker.claim("w1", None, 10, ["app.tasks.unknown"]) == []
    assert (calls(redis)["evalsha"], calls(redis)["zrangebylex"]) == (1, 2)


def test_lines_are_merged_by_their_bytes_whatever_the_locale(own_server, broker_on, monkeypatch):
    """Lua compares texts as the server's locale does: in Danish 'aa' comes behind 'f'."""
    if is_installed(DANISH):  # elsewhere the test shows less
        monkeypatch.setenv("LC_ALL", DANISH)
    broker = broker_on(own_server().url)
    names = [f"app.tasks.t{number}" for number in range(5)]
    pushed = [jobs.new(broker, task_path=names[number % 5], priority=number % 7) for number in range(300)]
    broker.push(pushed)

    claimed = [job for _ in range(30) for job in broker.claim("w1", None, 10)]
    assert [job.rank for job in claimed] == sorted(job.rank for job in pushed)
    pages, last = [], None
    while page := broker.search(limit=17, before_id=last):
        pages += page
        last = page[-1].id
    assert [job.id for job in pages] == sorted((job.id for job in pushed), reverse=True)


def is_installed(name):
    asked = subprocess.run(
        [sys.executable, "-c", f"import locale; locale.setlocale(locale.LC_COLLATE, {name!r})"], capture_output=True
    )
    return asked.returncode == 0


def test_many_jobs_are_cancelled_and_deleted_in_slices(broker):
    """One command takes a million values."""
    pushed = jobs.pushed(broker, 5_000)

    assert len(broker.cancel(jobs.ids(pushed))) == 5_000
    assert broker.delete(jobs.ids(pushed)) == 5_000
