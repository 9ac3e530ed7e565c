"""For a project's own tests: run what was enqueued, look at it, and move the queue's clock."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any

from mainspring import outbox
from mainspring.backends import MainspringBackend
from mainspring.compat import task_backends
from mainspring.job import LIVE, State
from mainspring.results import Result, result_of
from mainspring.tasks import Task
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
    inline = Inline(found.broker, found.mainspring_options, type(found))
    for count in range(MOST):
        outbox.send_waiting(found.broker)
        ran = inline.run_next()
        if ran is None:
            return count
        if raise_errors and ran.exception is not None and State(ran.job.state).is_end:
            raise ran.exception
    raise RuntimeError(f"drain() ran {MOST} jobs and there are still more: do jobs enqueue each other for ever?")


def enqueued_jobs(backend: str = "default") -> list[Result]:
    """Return the results of the jobs that have not ended, oldest first."""
    found = _backend(backend)
    outbox.send_waiting(found.broker)
    jobs = found.broker.search(states=LIVE, limit=MOST)
    return [result_of(job, backend) for job in sorted(jobs, key=lambda job: (job.enqueued_at, job.id))]


def assert_enqueued(
    task: Task,
    *,
    args: Iterable[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    count: int | None = None,
    backend: str = "default",
) -> list[Result]:
    """
    Assert that a task is waiting to run, with these arguments where they are given, and `count` times if given.

    Return the results that match. The message of a failure lists what was enqueued instead.
    """
    enqueued = enqueued_jobs(backend)
    args = None if args is None else list(args)
    found = [
        result
        for result in enqueued
        if result.task.module_path == task.module_path
        and (args is None or list(result.args) == args)
        and (kwargs is None or dict(result.kwargs) == dict(kwargs))
    ]
    is_as_expected = len(found) == count if count is not None else bool(found)
    if not is_as_expected:
        expected = "at least once" if count is None else f"{count} times"
        given = {"args": args, "kwargs": kwargs}
        wanted = "".join(f" {name}={value}" for name, value in given.items() if value is not None)
        lines = [f"  {result.task.module_path} args={result.args} kwargs={result.kwargs}" for result in enqueued]
        raise AssertionError(
            f"{task.module_path}{wanted} was expected {expected}, found {len(found)} times. "
            "Enqueued:\n" + ("\n".join(lines) or "  nothing")
        )
    return found


class travel:
    """
    Move a backend's clock from now on; as a context manager, until the end of the block.

    `by` is seconds or a timedelta. Deferred jobs, retries and retention follow it.
    """

    def __init__(self, by: timedelta | float, backend: str = "default") -> None:
        self._clock = _backend(backend).broker.clock
        self._by = by.total_seconds() if isinstance(by, timedelta) else by
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
