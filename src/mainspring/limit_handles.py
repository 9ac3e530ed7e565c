"""Limits at run time: where one stands, and how to pause or change it, whatever the code declares."""

from dataclasses import dataclass
from datetime import datetime

from asgiref.sync import sync_to_async

from mainspring.backends import broker_for
from mainspring.brokers.admission import Change, Level
from mainspring.brokers.base import Broker
from mainspring.brokers.rates import parse_rate
from mainspring.clock import to_datetime
from mainspring.compat import DEFAULT_TASK_BACKEND_ALIAS
from mainspring.durations import to_seconds
from mainspring.flow.limits import whole
from mainspring.flow.pauses import pause


@dataclass(frozen=True, slots=True)
class LimitStatus:
    """
    Where a limit stands, as the store knows it.

    `concurrency` and `rate` are those that hold now, `is_given` says whether they were given at run time. `held` is
    how much of it the jobs of the ids `held_by` hold, and `parked` how many jobs wait for it.
    """

    name: str
    concurrency: int | None
    rate: str | None
    is_given: bool
    held: int
    held_by: list[str]
    parked: int
    paused_until: datetime | None


class LimitHandle:
    """One limit of a backend, by its name. Each method has an async twin that begins with `a`."""

    def __init__(self, name: str, backend: str = DEFAULT_TASK_BACKEND_ALIAS) -> None:
        self.name = name
        self.backend = backend

    def __repr__(self) -> str:
        return f"<LimitHandle {self.name!r} of {self.backend!r}>"

    def pause(self, duration: object) -> None:
        """
        Let nothing start under the limit for so long: seconds, a timedelta or a text such as "30s".

        What runs goes on. A pause that others have asked for and that lasts longer stays.
        """
        seconds = to_seconds(duration)
        if seconds < 0:
            raise ValueError(f"a pause cannot be negative: {duration!r}")
        pause(self._broker, [self.name], seconds)

    def resume(self) -> None:
        """End a pause, whoever has asked for it."""
        self._broker.change_limit(self.name, Change(paused_until=0))

    def change(
        self,
        *,
        concurrency: int | None = None,
        rate: str | None = None,
        burst: int | None = None,
        sliding: bool = False,
    ) -> None:
        """
        Give the limit these numbers in place of those that the code declares; None is without limit.

        With `concurrency` 0 nothing starts. They hold until `reset`, also for workers that start later.
        """
        if concurrency is not None and concurrency != 0:
            whole("concurrency", concurrency)
        parsed = None if rate is None else parse_rate(rate, burst, sliding)
        self._broker.change_limit(self.name, Change(is_given=True, concurrency=concurrency, rate=parsed))

    def reset(self) -> None:
        """Go back to the numbers that the code declares."""
        self._broker.change_limit(self.name, Change(is_given=False))

    def status(self) -> LimitStatus:
        """Return where the limit stands; of one that no job has asked for yet, that nothing is known."""
        return status_of(self._broker, self.name, self._broker.level(self.name) or Level())

    async def apause(self, duration: object) -> None:
        await sync_to_async(self.pause)(duration)

    async def aresume(self) -> None:
        await sync_to_async(self.resume)()

    async def achange(
        self,
        *,
        concurrency: int | None = None,
        rate: str | None = None,
        burst: int | None = None,
        sliding: bool = False,
    ) -> None:
        await sync_to_async(self.change)(concurrency=concurrency, rate=rate, burst=burst, sliding=sliding)

    async def areset(self) -> None:
        await sync_to_async(self.reset)()

    async def astatus(self) -> LimitStatus:
        return await sync_to_async(self.status)()

    @property
    def _broker(self) -> Broker:
        return broker_for(self.backend)


def status_of(broker: Broker, name: str, level: Level) -> LimitStatus:
    until = level.paused_until
    return LimitStatus(
        name=name,
        concurrency=level.concurrency,
        rate=None if level.rate is None else str(level.rate),
        is_given=level.is_given,
        held=level.held,
        held_by=broker.holding(name),
        parked=broker.parked(name),
        paused_until=to_datetime(until) if until > broker.now() else None,
    )


def limit(name: str, backend: str = DEFAULT_TASK_BACKEND_ALIAS) -> LimitHandle:
    """Return the limit of this name, to look at, pause or change."""
    return LimitHandle(name, backend)
