"""What the function of a task takes, and what of it its callers give."""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from inspect import BoundArguments, Parameter, Signature, signature
from typing import Any


@lru_cache(maxsize=1024)
def signature_of(function: Callable[..., Any]) -> Signature:
    """Return what a function takes."""
    # A decorator around the function may give it arguments of its own, so what it wraps says nothing.
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        return signature(function, follow_wrapped=False, annotation_format=Format.FORWARDREF)
    return signature(function, follow_wrapped=False)


@lru_cache(maxsize=1024)
def for_callers(function: Callable[..., Any], takes_context: bool) -> Signature:
    """Return what callers of a task give, who leave out a context."""
    parameters = list(signature_of(function).parameters.values())[int(takes_context) :]
    return Signature([parameter.replace(annotation=Parameter.empty) for parameter in parameters])


def bound(
    function: Callable[..., Any], takes_context: bool, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> BoundArguments:
    """Return the arguments of a call that fits, by their names and with the defaults."""
    call = for_callers(function, takes_context).bind(*args, **kwargs)
    call.apply_defaults()
    return call


def shown(function: Callable[..., Any], takes_context: bool) -> str:
    """Return what callers give, such as `(a, b=1)`."""
    return f"{for_callers(function, takes_context)!s:.300}"


@lru_cache(maxsize=1024)
def numbers_of_arguments(function: Callable[..., Any]) -> range:
    """Return how many positional arguments, without any keyword, suffice for a function."""
    parameters = signature_of(function).parameters.values()
    by_place = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    if any(each.kind == each.KEYWORD_ONLY and each.default is each.empty for each in parameters):
        return range(0)
    needed = sum(each.default is each.empty for each in by_place)
    takes_any_number = any(each.kind == each.VAR_POSITIONAL for each in parameters)
    return range(needed, sys.maxsize if takes_any_number else len(by_place) + 1)
