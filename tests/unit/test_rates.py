"""Rates: what may start when."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.brokers.rates import EMPTY, Rate, carried, parse_rate, take
from mainspring.clock import SECOND


@pytest.mark.parametrize(
    ("text", "count", "seconds"),
    [("100/m", 100, 60), ("5/10s", 5, 10), (" 1 / 2h ", 1, 7200), ("1000/d", 1000, 86_400)],
)
def test_rates_as_people_write_them(text, count, seconds):
    assert parse_rate(text) == Rate(count, seconds * SECOND, count)


@pytest.mark.parametrize("value", ["", "100", "0/m", "5/0s", "-1/s", "1/y", 5, None, "1.5/s", "5/m extra"])
def test_what_is_no_rate(value):
    with pytest.raises(ValueError, match="a rate is a text like '100/m'"):
        parse_rate(value)


@pytest.mark.parametrize("is_sliding", [True, False])
def test_more_than_there_ever_is_waits_for_all_of_it_and_is_paid_for_afterwards(is_sliding):
    rate = parse_rate("5/10s", is_sliding=is_sliding)
    one = take(rate, EMPTY, 1, 100 * SECOND)
    large = take(rate, one.state, 10, 100 * SECOND)
    assert 101 * SECOND < large.wait_until <= 111 * SECOND

    large = take(rate, one.state, 10, large.wait_until)
    assert large.wait_until is None
    after = take(rate, large.state, 1, 112 * SECOND)
    assert after.wait_until >= 114 * SECOND


attempts = st.lists(st.tuples(st.integers(0, 2 * SECOND), st.integers(1, 3)), min_size=1, max_size=60)
rates = st.builds(
    Rate,
    count=st.integers(3, 20),
    period=st.sampled_from([SECOND, 7 * SECOND // 3]),
    burst=st.integers(3, 8),
    is_sliding=st.booleans(),
)


@given(rates, attempts)
def test_no_stretch_of_time_sees_more(rate, attempts):
    """Whatever is asked when: of a bucket the burst and what flows in, of a window its count."""
    started, state, now = [], EMPTY, 1_767_225_600 * SECOND
    for pause, cost in attempts:
        now += pause
        taken = take(rate, state, cost, now)
        state = taken.state
        if taken.wait_until is None:
            started.append((now, cost))
        else:
            assert taken.wait_until > now

    for first, (begin, _) in enumerate(started):
        for last in range(first, len(started)):
            length = started[last][0] - begin
            total = sum(cost for _, cost in started[first : last + 1])
            if not rate.is_sliding:
                assert total <= rate.burst + rate.count * length / rate.period + 1e-3
            elif length < rate.period:
                assert total <= rate.count


@given(rates, st.integers(1, 3))
def test_who_comes_when_told_gets_it(rate, cost):
    """At once, and never a slice too early."""
    state, now = EMPTY, 1_767_225_600 * SECOND
    for _ in range(50):
        taken = take(rate, state, cost, now)
        if taken.wait_until is not None:
            assert take(rate, taken.state, cost, taken.wait_until - 1).wait_until is not None
            now = taken.wait_until
            taken = take(rate, taken.state, cost, now, since=now)
            assert taken.wait_until is None
        state = taken.state


@given(st.integers(0, 10**6))
def test_who_is_always_a_little_late_gets_the_rate(seed):
    """One each second, each up to 90 ms late: within two percent of the rate after ten minutes."""
    random = Random(seed)
    lateness = [random.randint(0, 90_000) for _ in range(600)]
    rate, state, due = parse_rate("1/s"), EMPTY, 1_767_225_600 * SECOND
    begin = due
    for late in lateness:
        taken = take(rate, state, 1, due + late, since=due)
        assert taken.wait_until is None
        state = taken.state
        due = take(rate, state, 1, due + late).wait_until or due
    assert (due - begin) / SECOND <= len(lateness) * 1.02


@pytest.mark.parametrize("was_sliding", [True, False])
@pytest.mark.parametrize("is_sliding", [True, False])
def test_what_was_taken_counts_for_another_rate(was_sliding, is_sliding):
    """Also back again: two releases that declare different rates give no more than one of them would."""
    now = 1_767_225_600 * SECOND
    old, new = parse_rate("4/m", is_sliding=was_sliding), parse_rate("8/s", is_sliding=is_sliding)
    state = EMPTY
    for _ in range(4):
        state = take(old, state, 1, now).state
    state = carried(old, new, state, now)
    left = 0
    while take(new, state, 1, now).wait_until is None:
        state, left = take(new, state, 1, now).state, left + 1

    assert left == 4
    assert take(old, carried(new, old, state, now), 1, now).wait_until is not None
