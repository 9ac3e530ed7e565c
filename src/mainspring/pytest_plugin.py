"""pytest fixtures around `mainspring.testing`; found by pytest when Mainspring is installed."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest


@pytest.fixture
def mainspring_drain() -> Callable[..., int]:
    """Run what has been enqueued: `mainspring_drain()`; see `mainspring.testing.drain`."""
    from mainspring.testing import drain

    return drain


@pytest.fixture
def mainspring_travel() -> Iterator[Callable[..., None]]:
    """Move the queue's clock: `mainspring_travel(timedelta(hours=1))`; it is moved back after the test."""
    from mainspring.testing import travel

    journeys: list[travel] = []

    def go(by: timedelta | float | str, backend: str = "default") -> None:
        journeys.append(travel(by, backend))

    yield go
    for journey in reversed(journeys):
        journey.__exit__(None, None, None)
