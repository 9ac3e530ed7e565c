"""How many jobs a process can take: what its pools have room for, and which tasks a full one leaves to others."""

from collections.abc import Collection, Iterable

from mainspring.worker.coroutines import Coroutines
from mainspring.worker.execution import Ran
from mainspring.worker.known_tasks import KnownTasks
from mainspring.worker.pace import LIMIT, Mix, Pace
from mainspring.worker.threads import Threads

Pool = Threads | Coroutines


class Capacity:
    """Counts the room in the pools that this process has, by how long the jobs of each have lasted so far."""

    def __init__(self, threads: Threads | None, coroutines: Coroutines | None, tasks: KnownTasks) -> None:
        self._threads = threads
        self._coroutines = coroutines
        self._tasks = tasks
        self.pools: list[Pool] = [pool for pool in (threads, coroutines) if pool is not None]
        self._paces = {pool: Pace() for pool in self.pools}
        self._mix = Mix()

    def full_pools(self) -> list[Pool]:
        return [pool for pool in self.pools if self.room_in(pool) <= 0]

    def room(self) -> int:
        """Return how many jobs to claim for the pools that have room."""
        rooms = [room for pool in self.pools if (room := self.room_in(pool)) > 0]
        if len(rooms) == 2:
            return min(self._mix.limit(*rooms), LIMIT)
        return min(sum(rooms), LIMIT)

    def room_in(self, pool: Pool) -> int:
        held, wanted = pool.waiting + pool.active, pool.size + self._paces[pool].ahead()
        # Fetch half a load or more: a round trip for one free place at a time would cost more than a short job.
        return wanted - held if held < pool.size or held <= wanted // 2 else 0

    def pool_of(self, task_path: str) -> Pool | None:
        """Return the pool for a known task, None if this process has none for its kind."""
        return self._coroutines if task_path in self._tasks.async_paths else self._threads

    def tasks_of(self, pools: Collection[Pool]) -> set[str]:
        """Return the tasks for which only one of these pools, or none at all, would do: they are left to others."""
        paths: set[str] = set()
        if self._threads is None or self._threads in pools:
            paths |= self._tasks.sync_paths
        if self._coroutines is None or self._coroutines in pools:
            paths |= self._tasks.async_paths
        return paths

    def taken(self, paths: Collection[str]) -> None:
        """Take note of the tasks of the jobs that a claim brought."""
        number_async = sum(path in self._tasks.async_paths for path in paths)
        self._mix.record(len(paths) - number_async, number_async)

    def ran(self, rans: Iterable[Ran]) -> None:
        """Take note of how long jobs took."""
        seconds: dict[Pool, list[float]] = {pool: [] for pool in self.pools}
        for ran in rans:
            pool = self.pool_of(ran.job.task_path)
            if pool is not None:
                seconds[pool].append(ran.seconds)
        for pool, pace in self._paces.items():
            pace.record(len(seconds[pool]), sum(seconds[pool]))

    def stall(self, pool: Pool, seconds: float) -> None:
        """Take note that jobs have waited in this pool for so long, while others ran."""
        if pool in self._paces:
            self._paces[pool].stall(seconds)
