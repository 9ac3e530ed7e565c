"""Order: jobs with the same key run one after the other."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from inspect import BoundArguments
from string import Formatter
from typing import Any, cast

from mainspring.exceptions import InvalidArguments
from mainspring.job import DEFERRED, ORDER, RETRYING

LONGEST_KEY = 200  # characters, the width of its column
Key = str | Callable[..., Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """
    Has jobs with the same key run one at a time, in the order in which their enqueues were committed.

    One that is to be tried again keeps those that come later waiting, unless `retries_block` is False; one that is
    deferred does not until it is due, unless `deferred_block` is True.
    """

    retries_block: bool = True
    deferred_block: bool = False

    def __post_init__(self) -> None:
        for name in ("retries_block", "deferred_block"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be True or False, not {getattr(self, name)!r:.100}")

    @property
    def blocks(self) -> str:
        """The waits in which a job keeps others waiting, as they are stored."""
        waits = ((RETRYING, self.retries_block), (DEFERRED, self.deferred_block))
        return " ".join(name for name, is_wanted in waits if is_wanted)


def parse_ordered(value: Any) -> Ordered | None:
    """Return what the option `ordered` of a task means; raise ValueError for what it cannot mean."""
    if value is None or isinstance(value, Ordered):
        return value
    if isinstance(value, bool):
        return Ordered() if value else None
    raise ValueError(f"expected True, False or an Ordered, got {value!r:.100}")


def parse_key(value: Any) -> Key | None:
    """Return the option `key` of a task; raise ValueError for what is none."""
    if isinstance(value, str) and value:
        names_in(value)
    elif value is not None and not callable(value):
        raise ValueError(
            f"expected a text such as 'order:{{order_id}}' or a function of the arguments, got {value!r:.100}"
        )
    return cast(Key | None, value)


def names_in(text: str) -> list[str]:
    """Return the names of arguments that stand in braces; raise ValueError where they are not closed or empty."""
    fields = [field for _, field, _, _ in Formatter().parse(text) if field is not None]
    names = [re.split(r"[.\[]", field)[0] for field in fields]
    if not all(name.isidentifier() for name in names):
        raise ValueError(f"expected names of arguments in braces, got {text!r:.100}")
    return names


def order_key(key: Key, task_path: str, call: BoundArguments) -> str:
    """Return the key of a call as it is stored; raise InvalidArguments where the arguments do not make one."""
    try:
        text = str(key(*call.args, **call.kwargs)) if callable(key) else key.format_map(call.arguments)
    except Exception as error:  # the function is the project's
        raise InvalidArguments(
            f"{task_path}: key={key!r:.200} cannot be applied: {type(error).__name__}: {error}"
        ) from error
    if len(ORDER) + len(text) <= LONGEST_KEY:
        return f"{ORDER}{text}"
    return f"{ORDER}{text[:100]}…{blake2b(text.encode(), digest_size=16).hexdigest()}"
