"""How much a pool holds ahead."""

from mainspring.worker.pace import LIMIT, Mix, Pace


def short_jobs():
    pace = Pace()
    for _ in range(20):
        pace.record(100, 0.004)
    return pace


def test_nothing_is_held_ahead_until_jobs_have_shown_to_be_short():
    """A job of unknown length must not wait behind another."""
    assert Pace().ahead() == 0


def test_short_jobs_are_held_by_the_row():
    """After rows of no-op jobs the next row may be as long as a claim allows."""
    assert short_jobs().ahead() == LIMIT


def test_a_row_that_stands_still_ends_the_holding_ahead():
    """A job that has lasted for 50 ms is not short, whatever the others were."""
    pace = short_jobs()
    pace.stall(0.05)

    assert pace.ahead() == 0


def test_short_jobs_are_soon_believed_again():
    """One long job does not slow the next thousand."""
    pace = short_jobs()
    pace.record(1, 30.0)
    assert pace.ahead() == 0
    pace.record(100, 0.004)

    assert pace.ahead() > 100


def test_a_claim_fills_both_pools_by_the_mix_seen_so_far():
    """With one job in ten async, room for 100 sync and 4 async jobs is room for 40."""
    mix = Mix()
    for _ in range(50):
        mix.record(90, 10)

    assert mix.limit(100, 4) in (39, 40)
    assert mix.limit(18, 100) in (19, 20)


def test_jobs_of_one_kind_do_not_wait_for_room_that_they_do_not_need():
    """A project without async tasks claims as much as its threads take."""
    mix = Mix()
    for _ in range(50):
        mix.record(256, 0)

    assert mix.limit(200, 100) > 190
