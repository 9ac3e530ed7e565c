"""Limits as they are declared, and the rule of who may run."""

from inspect import signature

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring import job as machine
from mainspring.brokers.admission import Demand, Level, Request, admit
from mainspring.brokers.rates import parse_rate
from mainspring.clock import SECOND
from mainspring.exceptions import InvalidArguments
from mainspring.flow.limits import Limit, named, parse_limits
from mainspring.signatures import bound

NOW = 1_767_225_600 * SECOND


def call(*args, **kwargs):
    bound = signature(lambda tenant, size=1: None).bind(*args, **kwargs)
    bound.apply_defaults()
    return bound


def requests(*demands):
    """Return requests with these demands, oldest first."""
    facts = {"task_path": "a.b", "arguments": "", "queue_name": "default", "priority": 0}
    return [Request(machine.new_job(at=NOW + number, **facts), each) for number, each in enumerate(demands)]


def test_a_limit_has_one_level_for_each_value():
    limit = Limit("api:{tenant}", rate="100/m")

    assert limit.demand(call("a")) == Demand("api:a", 1, None, parse_rate("100/m"))
    assert limit.demand(call(tenant="b")).name == "api:b"


def test_tiers():
    limit = Limit(
        "exports",
        key="exports:{tenant}",
        concurrency=lambda tenant, size: 5 if tenant == "pro" else 1,
        cost=lambda tenant, size: size,
    )

    assert limit.demand(call("pro", 3)) == Demand("exports:pro", 3, 5, None)
    assert limit.demand(call("free")) == Demand("exports:free", 1, 1, None)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "needs concurrency=, rate= or both"),
        ({"concurrency": 0}, "concurrency must be a whole number from 1"),
        ({"concurrency": True}, "concurrency must be a whole number from 1"),
        ({"rate": "often"}, "a rate is a text like '100/m'"),
        ({"rate": "1/s", "cost": 0}, "cost must be a whole number"),
        ({"rate": "1/s", "burst": -1}, "burst must be a whole number"),
    ],
)
def test_what_a_limit_cannot_be(options, problem):
    with pytest.raises(ValueError, match=problem):
        Limit("a", **options)


def test_arguments_that_do_not_fit():
    with pytest.raises(InvalidArguments, match=r"limit 'api:\{customer\}' cannot be applied: KeyError: 'customer'"):
        Limit("api:{customer}", rate="1/s").demand(call("a"))


@pytest.mark.parametrize("value", ["stripe", [1], 5])
def test_what_is_no_list_of_limits(value):
    with pytest.raises(ValueError, match="expected a Limit or a list of them"):
        parse_limits(value)


def test_as_many_as_have_room_the_oldest_first():
    asked = requests(*[[Demand("a", concurrency=2)]] * 4)
    done = admit(asked[::-1], {"a": Level(held=1)}, NOW)

    assert done.admitted == asked[:1]
    assert [(refusal.job, refusal.name, refusal.until) for refusal in done.refused] == [
        (request.job, "a", None) for request in asked[1:]
    ]
    assert done.levels["a"].held == 2


def test_a_small_one_passes_a_large_one_that_has_no_room():
    """No room is left unused; `ordered` keys are for those who need an order."""
    asked = requests([Demand("a", cost=3, concurrency=3)], [Demand("a", cost=1, concurrency=3)])
    done = admit(asked, {"a": Level(held=2)}, NOW)

    assert done.admitted == asked[1:]


def test_all_that_it_needs_or_nothing():
    """What it could have had of the one limit is left to others."""
    asked = requests([Demand("free", rate=parse_rate("1/s")), Demand("full", concurrency=1)], [Demand("free")])
    done = admit(asked, {"free": Level(rate=parse_rate("1/s")), "full": Level(held=1)}, NOW)

    assert [refusal.name for refusal in done.refused] == ["full"]
    assert done.admitted == asked[1:]


def test_it_waits_where_it_has_to_wait_longest():
    asked = requests([Demand("short", rate=parse_rate("1/s")), Demand("long", rate=parse_rate("1/m"))])
    levels = admit(asked, {"short": Level(), "long": Level()}, NOW).levels
    (refusal,) = admit(asked, levels, NOW).refused

    assert (refusal.name, refusal.until) == ("long", NOW + 60 * SECOND)


def test_what_was_given_at_run_time_goes_before_what_is_declared():
    asked = requests(*[[Demand("a", concurrency=1)]] * 3)
    done = admit(asked, {"a": Level(concurrency=2, is_given=True)}, NOW)

    assert len(done.admitted) == 2


def test_a_pause_holds_everybody_up():
    (refusal,) = admit(requests([Demand("a", concurrency=9)]), {"a": Level(paused_until=NOW + 5)}, NOW).refused

    assert refusal.until == NOW + 5


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 3)), max_size=30), st.integers(0, 5))
def test_no_limit_is_ever_exceeded(wants, held):
    asked = requests(*[[Demand(name, cost, 5)] for name, cost in wants])
    done = admit(asked, {"a": Level(held=held), "b": Level()}, NOW)

    assert all(level.held <= 5 for level in done.levels.values())
    assert len(done.admitted) + len(done.refused) == len(asked)


def test_two_limits_that_come_out_with_one_name_are_one():
    limits = [Limit("of:{first}", concurrency=5), Limit("of:{second}", concurrency=5, cost=2)]
    call = bound(lambda first, second: None, False, ["a", "a"], {})
    assert named(limits, "app.task", call) == '[["of:a", 3]]'


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_a_name_that_no_store_can_keep(name):
    call = bound(lambda first: None, False, [name], {})
    with pytest.raises(InvalidArguments, match="no store can keep"):
        named([Limit("of:{first}", concurrency=5)], "app.task", call)


@pytest.mark.parametrize("concurrency", [0, -1, "5"])
def test_a_function_that_returns_no_number(concurrency):
    call = bound(lambda first: None, False, ["a"], {})
    with pytest.raises(InvalidArguments, match="concurrency must be a whole number"):
        named([Limit("of", concurrency=lambda first: concurrency)], "app.task", call)
