"""Fair keys: what makes one, and what is refused."""

import pytest

from mainspring.exceptions import InvalidArguments
from mainspring.flow.fair import LONGEST_NAME, Fair, parse_fair
from mainspring.signatures import bound


def report(tenant, pages=1):
    """A function such as a task has."""


def key_of(fair, *args):
    return fair.key("app.report", "mail", 5, bound(report, False, args, {}))


def test_the_name_of_an_argument():
    assert key_of(Fair("tenant"), "acme") == "1000:fair:5:mail:=acme"


def test_a_function_and_weights():
    assert key_of(Fair(lambda tenant, pages: pages, weight=4), "acme", 7) == "250:fair:5:mail:=7"
    assert key_of(Fair("tenant", weight=lambda tenant, pages: 1 / pages), "acme", 2).startswith("2000:")


def test_a_long_key_fits_its_column_and_differs_from_others():
    names = {key_of(Fair("tenant"), "x" * 300 + end).partition(":")[2] for end in "ab"}
    assert len(names) == 2
    assert all(len(name) <= LONGEST_NAME for name in names)


@pytest.mark.parametrize("fair", [Fair("nobody"), Fair(lambda tenant: 1), Fair("tenant", lambda tenant, pages: 0)])
def test_what_cannot_be_applied_is_an_error_that_names_the_task(fair):
    with pytest.raises(InvalidArguments, match=r"app.report: fair_by: \w+Error"):
        key_of(fair, "acme")


@pytest.mark.parametrize("weight", [0, -1, 1e9, True, "2", None, float("nan")])
def test_what_is_no_weight(weight):
    with pytest.raises(ValueError, match=r"a weight is a number from 0\.001 to 1000, not"):
        Fair("tenant", weight)


@pytest.mark.parametrize("value", ["", "a b", 7, ["tenant"], True])
def test_what_is_no_key(value):
    with pytest.raises(ValueError, match="expected the name of an argument or a function of them"):
        parse_fair(value)


def test_what_fair_by_means():
    assert parse_fair("tenant") == Fair("tenant")
    assert parse_fair(Fair("tenant", 2)) == Fair("tenant", 2)
    assert parse_fair(None) is None
