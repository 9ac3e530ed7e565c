"""Rows of waiting items that several threads empty."""

from collections import deque
from collections.abc import Iterator
from typing import Any


def pop_all(items: deque[Any]) -> Iterator[Any]:
    """Empty a deque that other threads may be emptying or filling too."""
    while True:
        try:
            yield items.popleft()
        except IndexError:
            return
