"""What is checked of a call's arguments: the quick way for most calls says what binding them would say."""

from inspect import signature

import pytest

from mainspring.signatures import numbers_of_arguments

FUNCTIONS = [
    lambda: None,
    lambda a: None,
    lambda a, b=1: None,
    lambda a, /, b, *, c=1: None,
    lambda *, c: None,
    lambda a, *rest: None,
    lambda **named: None,
    lambda a=1, *rest, c, **named: None,
]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: str(signature(function)))
@pytest.mark.parametrize("number", range(4))
def test_as_if_bound(function, number):
    """A call with so many positional arguments fits, or does not."""
    try:
        signature(function).bind(*range(number))
    except TypeError:
        fits = False
    else:
        fits = True

    assert (number in numbers_of_arguments(function)) == fits
