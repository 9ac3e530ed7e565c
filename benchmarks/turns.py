"""The order in which two ways are measured: whatever comes second may find things warmer, or a longer table."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def in_turn(ways: Sequence[T], number: int) -> Sequence[T]:
    """Return the ways in the order for the pair of this number."""
    return ways[::-1] if number % 2 else ways
