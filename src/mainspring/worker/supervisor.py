"""The supervisor of one `worker` command: it keeps processes alive, beats for them, and wakes them when work comes."""

import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mainspring.worker.child_process import ChildProcess
from mainspring.worker.plan import Plan

if TYPE_CHECKING:
    from mainspring.brokers.base import Broker, Listener
    from mainspring.job import Job

logger = logging.getLogger("mainspring.worker")

EXIT_DONE = 0
EXIT_FORCED = 130

GRACE = 1.0  # seconds beyond the shutdown time until a child that does not end is killed
RESTART_DELAYS = (0.0, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
STEADY_AFTER = 10.0  # a child that lived this long was no failed start
READY_AGAIN_AFTER = 30.0  # seconds between two lines that say what is waited for


class Supervisor:
    """Single-threaded, and without the project's apps: nothing that a task does can stop its beat."""

    def __init__(self, plan: Plan, broker: "Broker") -> None:
        from mainspring.worker.caretaker import Caretaker

        self._plan = plan
        self._options = plan.options
        self._broker = broker
        self._caretaker = Caretaker(broker, self._options, self._wake, self._announce)
        self._children: list[ChildProcess] = []
        self._listener: Listener | None = None
        self._selector = selectors.DefaultSelector()
        self._signals: list[int] = []
        self._start_at = [0.0] * self._options.processes  # when to start each missing child
        self._failed_starts = 0
        self._hops = 0
        self._next_child = 0
        self._stops_by: float | None = None
        self._is_forced = False

    def run(self) -> int:
        """Supervise until told to stop; return the exit code."""
        self._catch_signals()
        self._wait_for_store()
        while not self._is_over():
            self._start_missing()
            self._listen()
            pause = min([self._caretaker.tick(), *self._pauses()])
            self._select(pause)
            self._heed_signals()
            self._reap()
            self._kill_the_late()
        return self._end()

    # Starting.

    def _wait_for_store(self) -> None:
        from mainspring.exceptions import BrokerUnavailable

        said_at = 0.0
        while not self._signals:
            try:
                return self._broker.check()
            except BrokerUnavailable as error:
                if time.monotonic() - said_at >= READY_AGAIN_AFTER or not said_at:
                    said_at = time.monotonic()
                    logger.warning("Waiting to start: %s", error)
            self._select(1.0)
        self._heed_signals()

    def _start_missing(self) -> None:
        now = time.monotonic()
        due = [at for at in self._start_at if at <= now]
        if self._stops_by is not None or not due:
            return
        self._start_at = [at for at in self._start_at if at > now]
        for _ in due:
            child = ChildProcess.start(self._plan)
            self._children.append(child)
            self._selector.register(child.channel, selectors.EVENT_READ, child)
            self._caretaker.add(child.info)

    def _listen(self) -> None:
        from mainspring.exceptions import BrokerUnavailable

        if self._listener is not None:
            return
        try:
            self._listener = self._broker.listen()
        except BrokerUnavailable:
            return  # the caretaker has said so
        fileno = self._listener.fileno()
        if fileno is not None:
            self._selector.register(fileno, selectors.EVENT_READ, self._listener)

    # Waiting.

    def _pauses(self) -> list[float]:
        now = time.monotonic()
        pauses = [at - now for at in self._start_at] if self._stops_by is None else [self._stops_by + GRACE - now]
        if self._listener is not None and self._listener.fileno() is None:
            pauses.append(self._listener.interval)
        return pauses

    def _select(self, pause: float) -> None:
        for key, _ in self._selector.select(max(pause, 0.0)):
            if isinstance(key.data, ChildProcess):
                self._hear(key.data)
            elif key.data is not None:
                self._check_news()
            else:
                self._wakeup_near.recv(4096)
        if self._listener is not None and self._listener.fileno() is None:
            self._check_news()

    def _check_news(self) -> None:
        from mainspring.exceptions import BrokerUnavailable

        assert self._listener is not None
        try:
            if self._listener.has_news():
                self._caretaker.expect(0)
                self._wake()
        except BrokerUnavailable as error:
            logger.warning("Listening for work was cut off; it is taken up again. %s", error)
            self._close_listener()

    def _close_listener(self) -> None:
        if self._listener is None:
            return
        for key in list(self._selector.get_map().values()):
            if key.data is self._listener:
                self._selector.unregister(key.fileobj)
        self._listener.close()
        self._listener = None

    # Children.

    def _hear(self, child: ChildProcess) -> None:
        for message in child.channel.receive():
            child.heard(message)
            if "ready" in message:
                logger.info("Worker process %d is ready.", child.pid)
            if "found_more" in message:
                self._hops = len(self._children) - 1
            if {"found_more", "busy"} & message.keys() and self._hops > 0:
                self._hops -= 1
                self._wake_next(besides=child)
            if "deferred" in message:
                self._caretaker.expect(message["deferred"])
        if not child.channel.is_open:
            self._selector.unregister(child.channel)

    def _wake(self) -> None:
        """Wake one child; one that has no room for more passes the word on, once round."""
        self._hops = len(self._children) - 1
        self._wake_next()

    def _wake_next(self, besides: ChildProcess | None = None) -> None:
        ready = [child for child in self._children if child.is_ready and child is not besides]
        if ready:
            self._next_child = (self._next_child + 1) % len(ready)
            ready[self._next_child].channel.send(wake=True)

    def _announce(self, ended: "list[Job]") -> None:
        """Have a child send the signals for jobs that ended here: their receivers are the project's code."""
        ready = [child for child in self._children if child.is_ready]
        if ready:
            ready[0].channel.send(ended=[job.id for job in ended])

    def _reap(self) -> None:
        for child in [child for child in self._children if child.has_ended()]:
            # What it said last may not have been read yet. No end of the line need follow: what a task has forked
            # may hold the other side open.
            if child.channel.is_open:
                self._hear(child)
            self._children.remove(child)
            if child.channel.is_open:
                self._selector.unregister(child.channel)
            self._caretaker.bury(child.death(was_stopping=self._stops_by is not None))
            child.close()
            self._plan_replacement(child)

    def _plan_replacement(self, child: ChildProcess) -> None:
        is_finished = child.is_over and (self._options.drain or self._options.max_idle is not None)
        if self._stops_by is not None or is_finished:
            return
        if child.is_over:
            self._start_at.append(0.0)
            return
        self._failed_starts = 0 if child.age() >= STEADY_AFTER else self._failed_starts + 1
        delay = RESTART_DELAYS[min(self._failed_starts, len(RESTART_DELAYS) - 1)]
        logger.error("Worker process %d %s; another starts in %.0f s.", child.pid, child.how_it_ended(), delay)
        self._start_at.append(time.monotonic() + delay)

    # Stopping.

    def _catch_signals(self) -> None:
        self._wakeup_near, far = socket.socketpair()
        self._wakeup_near.setblocking(False)
        far.setblocking(False)
        self._wakeup_far = far
        signal.set_wakeup_fd(far.fileno(), warn_on_full_buffer=False)
        self._selector.register(self._wakeup_near, selectors.EVENT_READ, None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, frame: self._signals.append(number))
        signal.signal(signal.SIGCHLD, lambda number, frame: None)  # so that a death ends the wait at once

    def _heed_signals(self) -> None:
        signals, self._signals = self._signals, []
        for number in signals:
            if self._stops_by is None:
                self._begin_to_stop(signal.Signals(number).name)
            else:
                logger.warning("Second %s: ending now.", signal.Signals(number).name)
                self._is_forced = True

    def _begin_to_stop(self, name: str) -> None:
        within = self._options.shutdown_timeout
        logger.info("%s: stopping; running jobs may finish within %g s.", name, within)
        self._stops_by = time.monotonic() + within
        for child in self._children:
            child.channel.send(stop=within)

    def _kill_the_late(self) -> None:
        is_late = self._stops_by is not None and time.monotonic() >= self._stops_by + GRACE
        if is_late or self._is_forced:
            for child in self._children:
                child.kill()

    def _is_over(self) -> bool:
        is_over = not self._children and (self._stops_by is not None or not self._start_at)
        if is_over and not self._caretaker.is_settled:
            self._caretaker.tick()
        return is_over

    def _end(self) -> int:
        self._caretaker.leave()
        self._close_listener()
        logger.info("Stopped.")
        return EXIT_FORCED if self._is_forced else EXIT_DONE


def main(arguments: Sequence[str]) -> int:
    """Run as `python -m mainspring.worker.supervisor PLAN`, in place of the process that was `manage.py`."""
    plan_text = arguments[0]

    import django
    from django.conf import settings

    # The project's apps are its code; a supervisor that never runs it cannot be stopped by it.
    settings.INSTALLED_APPS = ["mainspring"]
    django.setup()

    from mainspring.backends import make_broker
    from mainspring.worker.terminal import log_to_terminal

    log_to_terminal()
    plan = Plan.from_json(plan_text)
    broker = make_broker(plan.backend, plan.database)
    logger.info("Worker %d of backend %r serves %s.", os.getpid(), plan.backend, describe(plan))
    return Supervisor(plan, broker).run()


def describe(plan: Plan) -> str:
    """Return in one line what a plan serves, and what it needs."""
    options = plan.options
    queues = "every queue" if plan.queues is None else f"queues {', '.join(plan.queues)}"
    return (
        f"{queues} with {options.processes} process(es), each with {options.threads} threads and up to "
        f"{options.async_jobs} async jobs; it may need {plan.connections} database connections"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
