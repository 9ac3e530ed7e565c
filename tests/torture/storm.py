"""One storm: workers under load are struck again and again, then left in peace, and what came of it is collected."""

import os
import random
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil

from mainspring.clock import SECOND
from mainspring.compat import task_backends
from mainspring.exceptions import BrokerUnavailable
from mainspring.job import LIVE
from mainspring.outbox_table import OutboxTable
from tests.processes.conftest import WorkerCommand
from tests.torture import events, rows
from tests.torture.enqueuer import Enqueuer
from tests.torture.fleet import Fleet
from tests.torture.history import History
from tests.torture.outcome import MAX_CRASHES, SLACK, WITHIN, Outcome
from tests.torture.scenarios import SCENARIOS

T = TypeVar("T")


class Storm:
    """Strikes for so many seconds; `server` is the private server of the store, None where there is none."""

    def __init__(self, scenario: str, *, seconds: float, commands: int = 2, server: Any = None, seed: int = 0) -> None:
        self.scenario = scenario
        self.seconds = seconds
        self.server = server
        self.server_kills = 0
        self.random = random.Random(seed)
        self.fleet = Fleet(commands)
        self._enqueuer = Enqueuer(seed)
        self._broker = task_backends["default"].broker
        self._over_at = 0.0

    def run(self) -> Outcome:
        with tempfile.TemporaryDirectory(prefix="mainspring-storm-") as folder:
            path = Path(folder) / "events"
            os.environ[events.ENVIRONMENT] = str(path)
            self.history = History(path)
            try:
                return self._run()
            finally:
                self.fleet.kill_all()
                self.history.close()
                del os.environ[events.ENVIRONMENT]

    def _run(self) -> Outcome:
        start_seconds = self.fleet.start()
        self._strike_until_it_is_over()
        assert self.history.strikes, "the storm struck nobody"
        allowed = SLACK * (WITHIN + start_seconds)
        done_seconds = self._seconds_until(self._is_done, allowed)
        self._seconds_until(lambda: len(self._broker.workers()) == self.fleet.processes, allowed)
        self.fleet.end()
        self.history.read()
        return Outcome(
            scenario=self.scenario,
            history=self.history,
            jobs=rows.stored(self._broker),
            workers=self._broker.workers(),
            unclean=self.fleet.unclean,
            start_seconds=start_seconds,
            done_seconds=done_seconds,
            slowest_offer=self._enqueuer.slowest,
        )

    def _strike_until_it_is_over(self) -> None:
        self._enqueuer.start()
        try:
            self._over_at = time.monotonic() + self.seconds
            while self._seconds_left() > 0:
                SCENARIOS[self.scenario](self)
        finally:
            self._enqueuer.stop()
        self.fleet.go_on()
        self.history.read()

    # What scenarios need.

    def choose(self, among: Sequence[T]) -> T:
        return self.random.choice(among)

    def pause(self, least: float, most: float | None = None) -> None:
        seconds = least if most is None else self.random.uniform(least, most)
        threading.Event().wait(max(min(seconds, self._seconds_left()), 0))

    def wait_for_run(self, command: WorkerCommand) -> None:
        """Wait until this command has run a job."""
        while self._seconds_left() > 0:
            self.history.read()
            if self.history.has_run_in({child.pid for child in command.children()}):
                return
            self.pause(0.02)

    def strike(self, act: Callable[[], None], victims: Sequence[psutil.Process] = ()) -> None:
        """Do it, unless the storm is over or a job would be hit for the last time that it may: none is to blame."""
        self.history.read()
        hits = self.history.cut_off()
        runs = self.history.running_in({victim.pid for victim in victims})
        if self._seconds_left() > 0 and all(hits[run.job_id] + 1 < MAX_CRASHES for run in runs):
            with suppress(psutil.NoSuchProcess):  # it has ended by itself just now
                act()

    def kill_server(self, down: float) -> None:
        self.server_kills += 1
        events.write("server killed", detail=[])
        self.server.kill()
        threading.Event().wait(down)
        self.server.start()
        events.write("server started", detail=[])

    # The end.

    def _is_done(self) -> bool:
        """Has everything ended, what was on its way to the store included?"""
        is_sent = not OutboxTable("default").has_rows("default", self._broker.clock.moment() + 60 * SECOND)
        return is_sent and not self._broker.search(states=LIVE, limit=1)

    def _seconds_left(self) -> float:
        return self._over_at - time.monotonic()

    def _seconds_until(self, condition: Callable[[], bool], allowed: float) -> float | None:
        """Wait until something is true of the store, and return how long after the last strike it was."""
        struck_at = self.history.strikes[-1].at if self.history.strikes else self._over_at
        while time.monotonic() < struck_at + allowed:
            with suppress(BrokerUnavailable):
                if condition():
                    return time.monotonic() - struck_at
            threading.Event().wait(0.05)
        return None
