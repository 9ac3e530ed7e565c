"""Scripts that a server has forgotten, and how many round trips the hot path takes."""

from tests.contract import jobs


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
