"""The tasks that this process can run, found when their first job comes."""

import logging
from inspect import iscoroutinefunction

from mainspring.clock import Clock
from mainspring.exceptions import UnknownTask
from mainspring.tasks import Task, load_task

logger = logging.getLogger("mainspring.worker")

LEFT_ALONE = 60.0  # seconds until a task that could not be imported is tried again


class KnownTasks:
    """Remembers which task paths lead to a task, which are async, and which to leave alone for a minute."""

    def __init__(self, clock: Clock, modules: tuple[str, ...]) -> None:
        self._clock = clock
        self._modules = modules
        self._tasks: dict[str, Task] = {}
        self._left_alone: dict[str, float] = {}
        self.sync_paths: set[str] = set()
        self.async_paths: set[str] = set()

    def find(self, path: str) -> Task | None:
        """Return the task, or None (and say why, once a minute) when this process cannot run it."""
        task = self._tasks.get(path)
        if task is None and path not in self.unknown():
            task = self._load(path)
        return task

    def unknown(self) -> set[str]:
        """Return the paths to leave alone now."""
        if self._left_alone:
            now = self._clock.elapsed()
            self._left_alone = {path: until for path, until in self._left_alone.items() if until > now}
        return set(self._left_alone)

    def _load(self, path: str) -> Task | None:
        try:
            task = load_task(path, self._modules)
        except UnknownTask as error:
            self._left_alone[path] = self._clock.elapsed() + LEFT_ALONE
            logger.warning("Jobs of %s wait: this worker cannot run them. %s", path[:200], error)
            return None
        (self.async_paths if iscoroutinefunction(task.func) else self.sync_paths).add(path)
        self._tasks[path] = task
        return task
