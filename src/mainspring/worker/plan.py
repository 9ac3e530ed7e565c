"""What a `worker` command was asked to do, in a form that passes from process to process."""

import json
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

from django.conf import settings

from mainspring.conf import Options, parse


@dataclass(frozen=True)
class Plan:
    """
    One backend, and the options given as flags.

    `database` is the alias of DATABASES that the jobs live in. What a plan leaves open, TASKS decides, in every
    process alike. With `is_alone` a process runs the jobs that crashed before, one at a time, and no others.
    """

    backend: str
    database: str | None
    flags: dict[str, Any] = field(default_factory=dict)
    is_alone: bool = False

    @cached_property
    def options(self) -> Options:
        """The backend's options with the flags on top; raise InvalidOptions when one cannot be used."""
        params = settings.TASKS[self.backend]
        return parse(self.backend, {**params, "OPTIONS": params.get("OPTIONS", {}) | self.flags})

    @property
    def queues(self) -> list[str] | None:
        """The queues to serve; None is every queue there is."""
        options = self.options
        queues = options.serve or settings.TASKS[self.backend].get("QUEUES", ["default"])
        return [name for name in queues if name not in options.exclude] if queues else None

    @property
    def slots(self) -> int:
        """How many jobs can run at once in one process."""
        return max(self.options.threads, 1) + self.options.async_jobs

    @property
    def connections(self) -> int:
        """How many database connections the whole worker may open."""
        threads = self.options.threads
        for_coroutines = max(threads, 1) if self.options.async_jobs else 0
        return self.options.processes * (threads + for_coroutines + 1) + 2

    @property
    def reloads(self) -> bool:
        """Are the processes started again when their code changes?"""
        reload = self.options.reload
        return bool(settings.DEBUG) if reload is None else reload

    def shaped(self) -> "Plan":
        """Return this plan with the size of a process settled: new code must fit the memory that was made for it."""
        return replace(self, flags=self.flags | {"threads": self.options.threads, "async": self.options.async_jobs})

    def alone(self) -> "Plan":
        """Return the plan of a process for the jobs that run alone; it ends when there are none."""
        shape = {"threads": min(self.options.threads, 1), "async": min(self.options.async_jobs, 1)}
        flags = self.flags | shape | {"max_idle": 1, "drain": False}
        return replace(self, flags={**flags, "max_jobs": None}, is_alone=True)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        return cls(**json.loads(text))
