"""Arguments and results as JSON text: what goes in, and what is said about what cannot."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mainspring.compat import normalize_json
from mainspring.exceptions import InvalidArguments

NO_ARGUMENTS = '{"args":[],"kwargs":{}}'
WAY_OUT = (
    "; JSON has None, booleans, numbers, texts, lists and dicts: take the pk of an object, isoformat() of a date, "
    "a list of a set"
)


def encode_arguments(task_path: str, args: Sequence[Any], kwargs: Mapping[str, Any], limit: int) -> str:
    """
    Return the arguments of a call as ASCII text of at most `limit` bytes.

    As in Django a tuple or another sequence becomes a list, a mapping a dict with textual keys, bytes become text.
    Raise InvalidArguments, which names the task and the argument, for what JSON cannot carry.
    """
    if not args and not kwargs:
        return NO_ARGUMENTS
    try:
        text = _encode({"args": args, "kwargs": kwargs})
    except (TypeError, ValueError, RecursionError) as error:
        way_out = WAY_OUT if isinstance(error, TypeError) else ""
        raise InvalidArguments(f"{task_path}: {_culprit(args, kwargs)}: {_reason(error)}{way_out}.") from error
    if len(text) > limit:
        raise InvalidArguments(
            f"{task_path}: the arguments take {len(text):,} bytes as JSON, and OPTIONS['max_payload'] allows "
            f"{limit:,}; store the data elsewhere and pass where to find it."
        )
    return text


def decode_arguments(text: str) -> tuple[list[Any], dict[str, Any]]:
    """Return stored arguments as `(args, kwargs)`; raise InvalidArguments for a text that holds none."""
    if text == NO_ARGUMENTS:
        return [], {}
    try:
        stored = json.loads(text)
        args, kwargs = stored["args"], stored["kwargs"]
        if isinstance(args, list) and isinstance(kwargs, dict):
            return args, kwargs
        raise ValueError("expected a list and a dict")
    except (TypeError, ValueError, LookupError, RecursionError) as error:
        raise InvalidArguments(f"The stored arguments are damaged ({_reason(error)}): {text!r:.200}") from error


def encode_result(value: Any, limit: int) -> str:
    """
    Return what a task has returned as ASCII text of at most `limit` bytes.

    Raise TypeError for a type that JSON does not have, as in Django, and ValueError for a value that it cannot carry.
    """
    if value is None:
        return "null"
    try:
        text = _encode(value)
    except TypeError as error:
        raise TypeError(f"The return value cannot be stored: {_reason(error)}{WAY_OUT}.") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"The return value cannot be stored: {_reason(error)}.") from error
    if len(text) > limit:
        raise ValueError(
            f"The return value takes {len(text):,} bytes as JSON, and OPTIONS['max_payload'] allows {limit:,}; "
            "store it elsewhere and return where to find it."
        )
    return text


def decode_result(text: str | None) -> Any:
    """Return a stored return value; raise ValueError for a text that holds none."""
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"The stored return value is damaged ({_reason(error)}): {text!r:.200}") from error


def _normal(value: Any) -> Any:
    """Return a value that JSON does not know in a form that it knows, by Django's rules."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, Sequence):
        return list(value)
    raise TypeError(f"Unsupported type: {type(value)}")


# The encoder in C asks `_normal` about odd values only, and takes a third of the time of normalising everything first.
# ASCII, so that no character of a payload can offend a store.
_encoder = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"), default=_normal)


def _encode(value: Any) -> str:
    try:
        return _encoder.encode(value)
    except TypeError:
        # Only Django's own function can turn keys of bytes into text; for anything else it raises.
        return _encoder.encode(normalize_json(value))


def _culprit(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Return the name of the first argument that cannot be encoded alone."""
    named = [(f"argument {number}", value) for number, value in enumerate(args, start=1)]
    named += [(f"argument {name!r}", value) for name, value in kwargs.items()]
    for name, value in named:
        try:
            _encode(value)
        except (TypeError, ValueError, RecursionError):
            return name
    return "the arguments"


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply, or holds itself"
    return str(error).rstrip(".") or type(error).__name__
