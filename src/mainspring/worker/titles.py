"""What process lists show as the name of a process, where `setproctitle` is installed."""

import time

from mainspring.job import Job

try:
    from setproctitle import setproctitle
except ImportError:
    setproctitle = None  # type: ignore[assignment]

AT_MOST_EVERY = 0.05  # seconds; nobody reads faster, and jobs may take microseconds


class Title:
    """The title of this process: what it is, and after that what it does now."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._shown = ""
        self._next_at = 0.0
        self.show("")

    def show(self, doing: str) -> None:
        """Show what the process does."""
        if setproctitle is not None and doing != self._shown:
            self._shown = doing
            setproctitle(f"{self._name} {doing}".strip())

    def show_job(self, job: Job) -> None:
        """Show a job that begins to run, unless one has begun just before."""
        if setproctitle is None or time.monotonic() < self._next_at:
            return
        self._next_at = time.monotonic() + AT_MOST_EVERY
        self.show(f"runs {job.task_path} {job.id}")
