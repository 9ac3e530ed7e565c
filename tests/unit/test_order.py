"""Order keys: what makes one, and what is refused."""

import pytest

from mainspring.exceptions import InvalidArguments
from mainspring.flow.order import LONGEST_KEY, Ordered, order_key, parse_key, parse_ordered
from mainspring.signatures import bound


def ship(order_id, step=0):
    """A function such as a task has."""


def key_of(key, *args, **kwargs):
    return order_key(key, "app.ship", bound(ship, False, args, kwargs))


def test_a_text_takes_arguments_by_name_however_they_are_given():
    assert key_of("order:{order_id}", 7) == key_of("order:{order_id}", order_id=7, step=2) == "key:order:7"
    assert key_of("{step}", 7) == "key:0"


def test_a_function_gets_the_arguments():
    assert key_of(lambda order_id, step: order_id % 10, 27) == "key:7"


def test_a_long_key_fits_its_column_and_differs_from_others():
    keys = {key_of("{order_id}", "x" * 300 + end) for end in "ab"}
    assert len(keys) == 2
    assert all(len(key) <= LONGEST_KEY for key in keys)


@pytest.mark.parametrize("key", ["{order_id.no}", lambda order_id, step: 1 / 0, lambda: 1])
def test_what_cannot_be_applied_is_an_error_that_names_the_task(key):
    with pytest.raises(InvalidArguments, match=r"app.ship: key=.* cannot be applied: \w+Error"):
        key_of(key, 7)


@pytest.mark.parametrize("value", ["", 7, "a{", "{}", "{0}", ["a"]])
def test_what_is_no_key(value):
    with pytest.raises(ValueError, match=r"expected|brace|format"):
        parse_key(value)


def test_what_ordered_means():
    assert parse_ordered(True) == Ordered()
    assert parse_ordered(False) is parse_ordered(None) is None
    assert Ordered().blocks == "retrying"
    assert Ordered(retries_block=False, deferred_block=True).blocks == "deferred"
    with pytest.raises(ValueError, match="expected True, False or an Ordered, got 'yes'"):
        parse_ordered("yes")
    with pytest.raises(ValueError, match="retries_block must be True or False, not 1"):
        Ordered(retries_block=1)
