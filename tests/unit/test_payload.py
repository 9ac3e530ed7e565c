"""Arguments and results as JSON text: what goes through unchanged, and what is said of the rest."""

import json
from collections import OrderedDict, UserDict, deque, namedtuple
from enum import IntEnum, StrEnum
from types import MappingProxyType

import pytest
from django.utils.safestring import mark_safe
from hypothesis import given
from hypothesis import strategies as st

from mainspring.compat import normalize_json
from mainspring.exceptions import InvalidArguments
from mainspring.payload import decode_arguments, decode_result, encode_arguments, encode_result

LIMIT = 1_000_000
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


Point = namedtuple("Point", "x y")


@given(args=st.lists(VALUES), kwargs=st.dictionaries(st.text(), VALUES))
def test_what_json_has_comes_back_as_it_was(args, kwargs):
    """Lone surrogates and NUL included, which no database would take unescaped."""
    text = encode_arguments("path", args, kwargs, 10**9)

    assert text.isascii()
    assert "\x00" not in text
    assert decode_arguments(text) == (args, kwargs)
    assert decode_result(encode_result(args, 10**9)) == args


@pytest.mark.parametrize(
    "value",
    [
        (1, (2, 3)),
        range(3),
        deque([1, 2]),
        Point(1, 2),
        b"bytes",
        bytearray(b"ab"),
        pytest.param(memoryview(b"ab"), id="memoryview"),
        UserDict(a=1),
        OrderedDict(b=2, a=1),
        MappingProxyType({"a": (1,)}),
        {b"key": 1},
        {"outer": {b"key": [b"value"]}},
        {1: "a", 2.5: "b", None: "c", False: "d"},
        Colour.RED,
        [Level.HIGH],
        mark_safe("safe"),
        10**100,
        -0.0,
    ],
    ids=repr,
)
def test_what_django_normalises_is_stored_the_same(value):
    """By the rules of `normalize_json`, which is what Django shows in a TaskResult."""
    assert json.loads(encode_result(value, LIMIT)) == json.loads(json.dumps(normalize_json(value)))
    assert decode_arguments(encode_arguments("path", [value], {"key": value}, LIMIT)) == (
        [json.loads(json.dumps(normalize_json(value)))],
        {"key": json.loads(json.dumps(normalize_json(value)))},
    )


def test_the_error_names_the_first_argument_that_is_wrong():
    """By its number, or its name."""
    with pytest.raises(InvalidArguments, match=r"^path: argument 2: Unsupported type: <class 'set'>; JSON has"):
        encode_arguments("path", [1, set(), set()], {}, LIMIT)
    with pytest.raises(InvalidArguments, match=r"^path: argument 'b': Unsupported type: <class 'set'>; JSON has"):
        encode_arguments("path", [1], {"a": 1, "b": [set()]}, LIMIT)


def test_a_limit_counts_bytes():
    """Exactly that many fit."""
    text = encode_arguments("path", ["é"], {}, LIMIT)
    assert encode_arguments("path", ["é"], {}, len(text)) == text
    with pytest.raises(InvalidArguments, match="allows"):
        encode_arguments("path", ["é"], {}, len(text) - 1)
    assert encode_result("é", 8) == '"\\u00e9"'
    with pytest.raises(ValueError, match="8 bytes as JSON"):
        encode_result("é", 7)


@pytest.mark.parametrize(
    ("value", "error", "reason"),
    [
        (lambda: True, TypeError, "The return value cannot be stored: Unsupported type: <class 'function'>; JSON has"),
        ({1}, TypeError, "Unsupported type: <class 'set'>"),
        (float("nan"), ValueError, "not JSON compliant"),
        (10**5000, ValueError, "4300"),
    ],
    ids=["function", "set", "nan", "5,000 digits"],
)
def test_a_return_value_that_cannot_be_stored(value, error, reason):
    """The classes are those of Django; they become the error of the job."""
    with pytest.raises(error) as caught:
        encode_result(value, LIMIT)
    assert type(caught.value) is error
    assert reason in str(caught.value)


DAMAGED = [
    "",
    "{",
    "null",
    "[]",
    "5",
    '"args"',
    "{}",
    '{"args":[]}',
    '{"args":{},"kwargs":{}}',
    '{"args":[],"kwargs":[]}',
    '{"args":' + "[" * 200_000,
    '{"args":[' + "9" * 5000 + '],"kwargs":{}}',
]


@pytest.mark.parametrize("text", DAMAGED, ids=lambda text: text[:30])
def test_a_damaged_row_is_named(text):
    """Whoever reads it gets one kind of error."""
    with pytest.raises(InvalidArguments, match="The stored arguments are damaged"):
        decode_arguments(text)


def test_a_damaged_result_is_named():
    """None is what a job has that has returned nothing yet."""
    assert decode_result(None) is None
    with pytest.raises(ValueError, match="The stored return value is damaged"):
        decode_result("{")


def test_nobody_shares_the_decoded_empty_arguments():
    """A task may change what it is given."""
    args, kwargs = decode_arguments(encode_arguments("path", [], {}, LIMIT))
    args.append(1)
    kwargs["a"] = 1

    assert decode_arguments(encode_arguments("path", [], {}, LIMIT)) == ([], {})
