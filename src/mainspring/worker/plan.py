"""What a `worker` command was asked to do, in a form that passes from process to process."""

import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from django.conf import settings

from mainspring.conf import Options, parse


@dataclass(frozen=True)
class Plan:
    """
    One backend, and the options given as flags.

    `database` is the alias of DATABASES that the jobs live in. What a plan leaves open, TASKS decides, in every
    process alike.
    """

    backend: str
    database: str | None
    flags: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def options(self) -> Options:
        """The backend's options with the flags on top; raise InvalidOptions when one cannot be used."""
        params = settings.TASKS[self.backend]
        return parse(self.backend, {**params, "OPTIONS": params.get("OPTIONS", {}) | self.flags})

    @property
    def queues(self) -> list[str] | None:
        """The queues to serve; None is every queue there is."""
        options = self.options
        queues = options.queues or settings.TASKS[self.backend].get("QUEUES", ["default"])
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

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        return cls(**json.loads(text))
