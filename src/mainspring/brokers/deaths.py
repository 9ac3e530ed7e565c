"""What becomes of a job whose worker has died."""

from collections.abc import Collection
from dataclasses import dataclass

from mainspring import job as machine
from mainspring.exceptions import Quarantined, WorkerCrashed
from mainspring.job import Job

DOUBTS = 3  # times as often as a job may crash, it may be cut off where nobody saw how its whole worker died


@dataclass(frozen=True, slots=True)
class WorkerDeath:
    """How a worker died, in the words of `Broker.rescue`, which says what each of them means."""

    max_crashes: int
    started: Collection[str] | None
    was_killed: bool
    was_seen: bool
    reason: str

    def after(self, job: Job, at: int) -> Job:
        """Return a job that this worker held as it goes on: put back, interrupted, or charged with a crash."""
        if self.started is not None and job.id not in self.started:
            return machine.release(job)
        max_crashes = self.max_crashes if job.max_crashes is None else job.max_crashes
        is_last = job.crashes + 1 >= max_crashes
        is_doubtful = not self.was_seen and is_last and _may_be_innocent(job, max_crashes)
        if max_crashes > 0 and (self.was_killed or is_doubtful):
            return machine.interrupt(job)
        path = f"{WorkerCrashed.__module__}.{(Quarantined if is_last else WorkerCrashed).__qualname__}"
        error = machine.error_entry(
            path,
            f"{self.reason} {_count_of_crashes(job.crashes + 1, max_crashes)}",
            worker_id=job.worker_id,
            attempt=job.attempts + 1,
            started_at=job.last_attempted_at,
            finished_at=at,
        )
        return machine.crash(job, error, at, max_crashes)


def _may_be_innocent(job: Job, max_crashes: int) -> bool:
    """Can it still be chance that a job was there at so many deaths? Who allows one crash only takes no chances."""
    return max_crashes > 1 and job.crashes + job.interruptions + 1 < DOUBTS * max_crashes


def _count_of_crashes(crashes: int, max_crashes: int) -> str:
    if max_crashes == 0:
        return "The task allows no crash (max_crashes=0), so the job does not run again."
    return f"This was crash {crashes} of at most {max_crashes}."
