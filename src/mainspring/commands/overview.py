"""What the store of a backend shows at one moment: its queues and its workers."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from mainspring.backends import MainspringBackend
from mainspring.brokers.base import Count, WorkerInfo
from mainspring.clock import SECOND
from mainspring.commands.backends import mainspring_backends
from mainspring.job import State

RECENTLY = 86_400  # seconds within which a job has ended, to be counted


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue; `numbers` are those of its jobs by state, `is_known` says whether it stands in TASKS."""

    name: str
    numbers: Mapping[str, int]
    oldest_ready: int | None
    is_known: bool

    def number(self, state: State) -> int:
        return self.numbers.get(state, 0)


@dataclass(frozen=True, slots=True)
class Overview:
    """One backend at the moment `at` of its store; workers that beat less than `lease` seconds ago are alive."""

    alias: str
    at: int
    lease: float
    queues: list[Queue]
    workers: list[WorkerInfo]

    @property
    def alive(self) -> list[WorkerInfo]:
        return [worker for worker in self.workers if self.is_alive(worker)]

    @property
    def ready(self) -> int:
        """How many jobs are ready, in all queues."""
        return sum(queue.number(State.READY) for queue in self.queues)

    @property
    def oldest_ready_age(self) -> float | None:
        """For how many seconds the ready job that has waited longest has been in line."""
        return max((age for queue in self.queues if (age := self.age(queue.oldest_ready)) is not None), default=None)

    def is_alive(self, worker: WorkerInfo) -> bool:
        return (self.age(worker.beat_at) or 0.0) < self.lease

    def age(self, moment: int | None) -> float | None:
        """Return how many seconds ago a moment was."""
        return None if moment is None else max(self.at - moment, 0) / SECOND


def overview_of(backend: MainspringBackend) -> Overview:
    """Look at the store now; raise BrokerUnavailable when that is not possible."""
    broker = backend.broker
    # To beat for nobody sets the clock by the store's own time, by which the workers' beats are dated too.
    known = broker.beat([]).workers
    at = broker.clock.moment()
    return Overview(
        alias=backend.alias,
        at=at,
        lease=backend.mainspring_options.rescue_after,
        queues=_queues(backend, broker.counts(at - RECENTLY * SECOND)),
        workers=[worker for worker in known if worker.facts.get("backend", backend.alias) == backend.alias],
    )


def _queues(backend: MainspringBackend, counts: Collection[Count]) -> list[Queue]:
    """Return the queues of TASKS, with or without jobs, and those that only have jobs."""
    elsewhere = _queues_of_others(backend)
    found = {count.queue_name for count in counts if count.queue_name not in elsewhere}
    return [_queue(name, backend, counts) for name in sorted(found | set(backend.queues))]


def _queue(name: str, backend: MainspringBackend, counts: Collection[Count]) -> Queue:
    mine = {count.state: count for count in counts if count.queue_name == name}
    ready = mine.get(State.READY)
    return Queue(
        name=name,
        numbers={state: count.number for state, count in mine.items()},
        oldest_ready=ready.oldest if ready else None,
        is_known=not backend.queues or name in backend.queues,
    )


def _queues_of_others(backend: MainspringBackend) -> set[str]:
    """Return the queues that other aliases keep in the same database: rows do not say whose they are."""
    using = backend.broker.using
    others = [other for other in mainspring_backends() if other.alias != backend.alias and using is not None]
    return {name for other in others if other.broker.using == using for name in other.queues} - set(backend.queues)
