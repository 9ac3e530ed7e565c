"""For a project's own tests: run what was enqueued, look at it, and move the queue's clock."""

import sys
from collections.abc import Iterable, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any

from mainspring import outbox
from mainspring.backends import MainspringBackend
from mainspring.compat import AnyTask, task_backends
from mainspring.durations import to_seconds
from mainspring.exceptions import InvalidArguments
from mainspring.job import LIVE, State
from mainspring.payload import decode_arguments, encode_arguments
from mainspring.results import Result, result_of
from mainspring.worker.inline import Inline

MOST = 10_000  # a drain that runs more jobs than this is taken for one that never ends


def drain(backend: str = "default", raise_errors: bool = True) -> int:
    """
    Run every ready job of a backend in the calling thread, those that they enqueue included; return how many ran.

    It works inside a TestCase's transaction too: what waits for that transaction's commit is sent first. Deferred
    jobs run once `travel` has reached their time. With `raise_errors` the first exception that fails a job for good
    is raised after the failure has been stored; jobs that will be tried again do not count as failed.
    """
    found = _backend(backend)
    inline = Inline(found.broker, found.mainspring_options, type(found), found.queues or None)
    for count in range(MOST + 1):
        outbox.send_waiting(found.broker)
        ran = inline.run_next()
        if ran is None:
            return count
        error = ran.exception if State(ran.job.state).is_end else None
        if error is not None and (raise_errors or isinstance(error, KeyboardInterrupt)):
            raise error
    raise RuntimeError(f"drain() ran {MOST} jobs and there are still more: do jobs enqueue each other for ever?")


def enqueued_jobs(backend: str = "default") -> list[Result]:
    """Return the results of the jobs that have not ended, oldest first."""
    found = _backend(backend)
    outbox.send_waiting(found.broker)
    jobs = found.broker.search(states=LIVE, limit=sys.maxsize)
    # Another backend may keep the jobs of other queues in the same database.
    own = [job for job in jobs if not found.queues or job.queue_name in found.queues]
    return [result_of(job, backend) for job in sorted(own, key=lambda job: (job.enqueued_at, job.id))]


def assert_enqueued(
    task: AnyTask,
    *,
    args: Iterable[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    count: int | None = None,
    backend: str | None = None,
) -> list[Result]:
    """
    Assert that a task is waiting to run, with these arguments where they are given, and `count` times if given.

    `backend` None is the task's own. Return the results that match. The message of a failure lists what was enqueued
    instead.
    """
    expected_args = None if args is None else [_as_stored(value) for value in args]
    expected_kwargs = None if kwargs is None else {name: _as_stored(value) for name, value in kwargs.items()}
    enqueued = enqueued_jobs(task.backend if backend is None else backend)
    found = [
        result
        for result in enqueued
        if result.task.module_path == task.module_path
        and (expected_args is None or result.args == expected_args)
        and (expected_kwargs is None or result.kwargs == expected_kwargs)
    ]
    is_as_expected = len(found) == count if count is not None else bool(found)
    if not is_as_expected:
        expected = "at least once" if count is None else f"{count} times"
        given = {"args": expected_args, "kwargs": expected_kwargs}
        wanted = "".join(f" {name}={value}" for name, value in given.items() if value is not None)
        lines = [f"  {result.task.module_path} args={result.args} kwargs={result.kwargs}" for result in enqueued]
        raise AssertionError(
            f"{task.module_path}{wanted} was expected {expected}, found {len(found)} times. "
            "Enqueued:\n" + ("\n".join(lines) or "  nothing")
        )
    return found


def _as_stored(value: Any) -> Any:
    """Return an argument as its task gets it, a tuple as a list; what no task can get, like `mock.ANY`, as it is."""
    try:
        return decode_arguments(encode_arguments("", [value], {}, sys.maxsize))[0][0]
    except InvalidArguments:
        return value


class travel:
    """
    Move a backend's clock from now on; as a context manager, until the end of the block.

    `by` is seconds, a timedelta or a text such as "10m". Deferred jobs, retries and retention follow it.
    """

    def __init__(self, by: timedelta | float | str, backend: str = "default") -> None:
        self._clock = _backend(backend).broker.clock
        self._by = to_seconds(by)
        self._clock.travel(self._by)

    def __enter__(self) -> "travel":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._clock.travel(-self._by)


def _backend(alias: str) -> MainspringBackend:
    backend = task_backends[alias]
    if not isinstance(backend, MainspringBackend):
        raise TypeError(
            f"TASKS[{alias!r}] uses {type(backend).__module__}.{type(backend).__qualname__}; "
            "mainspring.testing needs one of mainspring.backends."
        )
    return backend
