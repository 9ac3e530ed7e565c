"""Processes beside the worker, with Django set up for one store: they enqueue, look, and say what they have seen."""

import os
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from types import TracebackType
from typing import Any, TypeVar

from stores import Store

T = TypeVar("T")


class Client:
    """One such process. It is a new one, not a fork, so that nothing of the benchmark's own is shared with it."""

    def __init__(self, place: Store) -> None:
        self._pool = ProcessPoolExecutor(1, get_context("spawn"), _set_up, (place.environment,))
        self.do(os.getpid)  # a pool starts its process at the first call

    def begin(self, function: Callable[..., T], *arguments: Any) -> "Future[T]":
        """Have a function of a module run there."""
        return self._pool.submit(function, *arguments)

    def do(self, function: Callable[..., T], *arguments: Any) -> T:
        """Return what a function of a module returns there."""
        return self.begin(function, *arguments).result()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)


def _set_up(environment: dict[str, str]) -> None:
    os.environ |= environment
    import django

    django.setup()
