"""How much a pool holds ahead."""

from mainspring.worker.pace import LIMIT, Pace


def test_nothing_is_held_ahead_until_jobs_have_shown_to_be_short():
    """A job of unknown length must not wait behind another."""
    assert Pace().ahead(0.0) == 0


def test_short_jobs_are_held_by_the_row():
    """After rows of no-op jobs the next row may be as long as a claim allows."""
    pace = Pace()
    pace.begin(0.0)
    for batch in range(1, 20):
        pace.record(256, batch * 0.01)

    assert pace.ahead(0.19) == LIMIT


def test_a_job_that_lasts_ends_the_holding_ahead():
    """While nothing ends, the pool is taken for slow."""
    pace = Pace()
    pace.begin(0.0)
    for batch in range(1, 20):
        pace.record(256, batch * 0.01)

    assert pace.ahead(5.0) == 0


def test_an_idle_pause_says_nothing_about_jobs():
    """A pool that waited for work is as fast as it was."""
    pace = Pace()
    pace.begin(0.0)
    for batch in range(1, 20):
        pace.record(256, batch * 0.01)
    pace.begin(1000.0)

    assert pace.ahead(1000.0) == LIMIT
