"""How many jobs a pool may hold ahead of those that it runs."""

AHEAD = 0.020  # seconds of work held ahead: enough to cover a claim's round trip, too little to keep a job waiting
LIMIT = 256  # a larger batch makes PostgreSQL change its plan: 47 instead of 15 µs per job at 1,000
WEIGHT = 0.3  # of the newest measurement


class Pace:
    """
    Measures how long the jobs of a pool take.

    It starts from "long", so nothing is held ahead until jobs have shown that they are short.
    """

    def __init__(self) -> None:
        self._seconds_per_job = 1.0

    def record(self, jobs: int, seconds: float) -> None:
        """Note that `jobs` ended, which took `seconds` in all, the time in the store not counted."""
        if jobs:
            measured = seconds / jobs
            self._seconds_per_job += WEIGHT * (measured - self._seconds_per_job)
            # After one long job a row of short ones should not take ten batches to be believed.
            self._seconds_per_job = min(self._seconds_per_job, 4 * measured)

    def stall(self, seconds: float) -> None:
        """Note that a job has been running for so long already, while others waited."""
        self._seconds_per_job = max(self._seconds_per_job, seconds)

    def ahead(self) -> int:
        """Return how many jobs to hold beyond those that can run at once."""
        return min(int(AHEAD / max(self._seconds_per_job, AHEAD / LIMIT)), LIMIT)


class Mix:
    """
    Remembers which part of the jobs is async, so that one claim can fill both pools without overfilling either.

    A claim cannot choose: nothing in the store says which kind a task is.
    """

    def __init__(self) -> None:
        self._part_async = 0.5

    def record(self, sync: int, coroutines: int) -> None:
        """Note how many jobs of each kind a claim brought."""
        if sync + coroutines:
            self._part_async += WEIGHT * (coroutines / (sync + coroutines) - self._part_async)

    def limit(self, room_for_sync: int, room_for_async: int) -> int:
        """Return how many jobs to claim such that, mixed as before, each kind finds room."""
        part_async = min(max(self._part_async, 0.01), 0.99)
        return max(int(min(room_for_sync / (1 - part_async), room_for_async / part_async)), 1)
