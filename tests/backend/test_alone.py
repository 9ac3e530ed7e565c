"""Jobs that crashed before, where code runs what is ready itself."""

from tests.app import tasks


def test_drain_runs_them_last(on, run, broker):
    """They need nobody beside them, and there is nobody; what never crashed goes first all the same."""
    crashed = on(tasks.echo, priority=10).enqueue("crashed before")
    broker.claim("dead", None, 1)
    broker.rescue(["dead"], max_crashes=3)
    other = on(tasks.echo).enqueue("innocent")

    assert run() == 2

    for result in (crashed, other):
        result.refresh()
    assert other.last_attempted_at < crashed.last_attempted_at
    assert (crashed.return_value, other.return_value) == ("crashed before", "innocent")
