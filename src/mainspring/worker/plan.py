"""What a `worker` command was asked to do, in a form that passes from process to process."""

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from mainspring.conf import Options, options_for


@dataclass(frozen=True, slots=True)
class Plan:
    """
    One backend, the queues to serve (None: every queue), how many processes, and the options given as flags.

    `overrides` are fields of Options; `database` is the alias that the backend's jobs live in.
    """

    backend: str
    database: str | None
    queues: list[str] | None
    processes: int
    overrides: dict[str, Any] = field(default_factory=dict)

    @property
    def options(self) -> Options:
        return replace(options_for(self.backend), **self.overrides)

    @property
    def slots(self) -> int:
        """How many jobs can run at once in one process."""
        return max(self.options.threads, 1) + self.options.async_jobs

    @property
    def connections(self) -> int:
        """How many database connections the whole worker may open."""
        threads = self.options.threads
        for_coroutines = max(threads, 1) if self.options.async_jobs else 0
        return self.processes * (threads + for_coroutines + 1) + 2

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        return cls(**json.loads(text))


