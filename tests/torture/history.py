"""What the log of a storm says: what was offered, which runs there were, and what was done to the workers."""

from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.torture import events
from tests.torture.events import Event


@dataclass(slots=True)
class Offer:
    """A job as it was enqueued; `fate` is `offered` while nobody knows, then `committed`, or `undone`."""

    task: str
    args: list[Any]
    fate: str


@dataclass(slots=True)
class Run:
    """One run of a job's code; `ended` is None while it goes on, and for ever if it was cut off."""

    job_id: str
    attempt: int
    pid: int
    started: float
    ended: float | None = None


@dataclass(frozen=True, slots=True)
class Strike:
    """Something done to a worker or to the server, and the processes that had to bear it."""

    kind: str
    at: float
    pids: tuple[int, ...]


class History:
    """Follows a log that is still being written: `read` takes in what has come since."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self.offers: dict[str, Offer] = {}
        self.runs: list[Run] = []
        self.strikes: list[Strike] = []
        self.events: dict[str, list[Event]] = defaultdict(list)  # of each job
        self._open: dict[tuple[int, str, float], Run] = {}
        self._file = path.open("rb")
        self._rest = b""

    def read(self) -> None:
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        for event in filter(None, map(events.read, lines)):
            self.events[event.job_id].append(event)
            getattr(self, f"_{event.kind}", self._struck)(event)

    def close(self) -> None:
        self._file.close()

    # What the lines mean; every other kind is a strike.

    def _offered(self, event: Event) -> None:
        self.offers[event.job_id] = Offer(*event.detail, event.kind)

    _undone = _offered

    def _committed(self, event: Event) -> None:
        self.offers[event.job_id].fate = event.kind

    def _started(self, event: Event) -> None:
        run = Run(event.job_id, event.attempt, event.pid, event.at)
        self._open[event.pid, event.job_id, event.at] = run
        self.runs.append(run)

    def _ended(self, event: Event) -> None:
        self._open.pop((event.pid, event.job_id, event.detail)).ended = event.at

    def _struck(self, event: Event) -> None:
        self.strikes.append(Strike(event.kind, event.at, tuple(event.detail)))

    # What follows from them.

    def has_run_in(self, pids: Collection[int]) -> bool:
        """Has one of these processes started a job?"""
        return any(run.pid in pids for run in reversed(self.runs))

    def running_in(self, pids: Collection[int]) -> list[Run]:
        return [run for run in self._open.values() if run.pid in pids]

    def struck(self, *kinds: str) -> dict[int, float]:
        """Return each process that had to bear such a strike, with the moment of its first."""
        found: dict[int, float] = {}
        for strike in self.strikes:
            if strike.kind in kinds:
                found |= {pid: strike.at for pid in strike.pids if pid not in found}
        return found

    def cut_off(self) -> Counter[str]:
        """Return how often each job was running in a process that was killed just then."""
        killed = self.struck("killed")
        return Counter(run.job_id for run in self._open.values() if run.pid in killed)

    def cut_off_alone(self) -> Counter[str]:
        """Return how often each job was running in a process that was killed while its supervisor lived on."""
        killed = {strike.pids[0] for strike in self.strikes if strike.kind == "killed" and len(strike.pids) == 1}
        return Counter(run.job_id for run in self._open.values() if run.pid in killed)
