"""A worker process: it has the project's code, runs jobs, and ends when its supervisor does."""

import faulthandler
import logging
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, NoReturn

from mainspring.worker.channel import Channel
from mainspring.worker.files import files_of, loaded_files, watched_folders
from mainspring.worker.shared_memory import SharedMemory

logger = logging.getLogger("mainspring.worker")

GRACE = 0.5  # seconds for what should take no time, before the process ends all the same

MOST_LEFT_ALONE = 100  # task paths that are told to others, in one row with each beat

EXIT_DONE = 0
EXIT_BROKEN = 70
EXIT_CUT_OFF = 75  # it stopped in time, but jobs were still running

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# A handler in C: it answers also while a task holds the interpreter.
STACK_SIGNAL = getattr(signal, "SIGRTMIN", signal.SIGUSR2) + (6 if hasattr(signal, "SIGRTMIN") else 0)


class ChildReports:
    """Passes a worker's reports on: what runs into shared memory, the rest up the line."""

    def __init__(self, channel: Channel, memory: SharedMemory, elapsed: Any) -> None:
        self._channel = channel
        self._memory = memory
        self._elapsed = elapsed
        self._left_alone: list[str] = []
        self.started = memory.start
        self.ended = memory.end

    def found_more(self) -> None:
        self._channel.send(found_more=True)

    def busy(self) -> None:
        self._channel.send(busy=True)

    def deferred(self, due_at: int) -> None:
        self._channel.send(deferred=due_at)

    def retiring(self, reason: str) -> None:
        self._channel.send_all(retiring=reason)

    def left_alone(self, paths: Collection[str]) -> None:
        some = sorted(paths)[:MOST_LEFT_ALONE] if paths else []
        if some != self._left_alone and self._channel.send(left_alone=some):
            self._left_alone = some

    def is_trusted(self, since: float | None = None) -> bool:
        now = self._elapsed()
        return self._memory.is_trusted(now if since is None else since, now)

    def set_clock(self, clock: Any) -> None:
        clock.offset = self._memory.clock_offset()


def main(arguments: Sequence[str]) -> None:
    """Run as `python -m mainspring.worker.child PLAN WORKER_ID DESCRIPTORS`, the last a list with commas."""
    text, worker_id, descriptors = arguments
    channel_fd, memory_fd, stack_fd = map(int, descriptors.split(","))
    for descriptor in (channel_fd, memory_fd, stack_fd):
        os.set_inheritable(descriptor, False)  # what a task starts must not make this process look alive
    _leave_signals_to_the_supervisor()
    faulthandler.register(STACK_SIGNAL, file=stack_fd, all_threads=True)
    memory = SharedMemory(memory_fd)
    os.register_at_fork(after_in_child=partial(_become_a_process_of_its_own, memory))
    channel = Channel(socket.socket(fileno=channel_fd))
    try:
        Child(text, worker_id, channel, memory).live()
    except BaseException as error:
        _say_what_is_broken(channel, error)
        _end_process(EXIT_BROKEN)


class Child:
    """What the process does from its start to its end."""

    def __init__(self, text: str, worker_id: str, channel: Channel, memory: SharedMemory) -> None:
        import django

        django.setup()

        from mainspring.worker.connections import keep_to_this_process
        from mainspring.worker.plan import Plan
        from mainspring.worker.signals import log_what_is_heard
        from mainspring.worker.terminal import log_to_terminal

        log_to_terminal()
        keep_to_this_process()
        log_what_is_heard()
        self._plan = Plan.from_json(text)
        self._channel = channel
        self._memory = memory
        self._worker = self._make_worker(worker_id)
        self._watched: set[str] = set()
        self._sweeping: threading.Thread | None = None

    def live(self) -> None:
        """Work, and do what the supervisor says until it has died; this never returns."""
        self._report_files()
        threading.Thread(target=self._work, name="mainspring-worker", daemon=True).start()
        self._channel.send_all(ready=True)
        while self._channel.is_open:
            for message in self._channel.receive():
                self._obey(message)
        self._finish_alone()

    def time_without_supervisor(self) -> float:
        """Return how many seconds are left to finish in, before anybody can take this process for dead."""
        trusted: float = self._memory.trusted_until() - self._worker.broker.clock.elapsed()
        return min(self._plan.options.shutdown_timeout, max(trusted, 0.0))

    def _finish_alone(self) -> None:
        """The supervisor has died: finish as if it had said stop, and end like one that nobody is left to kill."""
        within = self.time_without_supervisor()
        self._worker.stop(within)
        threading.Event().wait(within + GRACE)
        _end_process(EXIT_CUT_OFF)

    def _make_worker(self, worker_id: str) -> Any:
        from mainspring.compat import task_backends
        from mainspring.worker.worker import Worker

        backend: Any = task_backends[self._plan.backend]
        return Worker(
            backend.broker,
            self._plan.options,
            type(backend),
            worker_id=worker_id,
            queues=self._plan.queues,
            reports=ChildReports(self._channel, self._memory, backend.broker.clock.elapsed),
            alone=self._plan.is_alone,
        )

    def _work(self) -> None:
        code = EXIT_BROKEN
        try:
            code = EXIT_DONE if self._worker.run() else EXIT_CUT_OFF
            worker = self._worker
            self._channel.send_all(over=True, has_run_any=worker.has_run_any, has_left_any=worker.has_left_any)
        except BaseException:
            logger.exception("The worker process met an error of its own and ends; its jobs go back.")
        finally:
            _end_process(code)

    def _obey(self, message: dict[str, Any]) -> None:
        if "wake" in message:
            self._worker.wake()
        if "stop" in message:
            self._worker.stop(message["stop"])
        if "retire" in message:
            self._worker.retire()
        if "ended" in message:
            self._worker.announce_ended(message["ended"])
        if "sweep" in message:
            self._start_sweep()
        if "stack" in message:
            self._channel.send_all(question=message["question"], answer=self._worker.stack_of(message["stack"]))
        if "files" in message:
            self._report_files()

    def _report_files(self) -> None:
        """Tell which files the code has come from so far, if the supervisor watches them."""
        if not self._plan.reloads:
            return
        files = set(loaded_files())
        if files != self._watched:
            self._watched = files
            # It waits until all of it has been read: a lost list would be a change that nobody sees.
            self._channel.send_all(files=sorted(files), folders=watched_folders())

    def _start_sweep(self) -> None:
        """Sweep the outbox in a thread of its own, one at a time: a database may take very long to answer."""
        if self._sweeping is None or not self._sweeping.is_alive():
            self._sweeping = threading.Thread(target=self._sweep, name="mainspring-sweep", daemon=True)
            self._sweeping.start()

    def _sweep(self) -> None:
        from django.db import connections

        from mainspring import outbox

        try:
            if outbox.sweep(self._worker.broker):
                self._worker.wake()
        except Exception:
            logger.exception("The outbox could not be swept; it is tried again with a later heartbeat.")
        finally:
            connections.close_all()


def _leave_signals_to_the_supervisor() -> None:
    """Heed neither the terminal's Ctrl-C and end nor a service manager's TERM: the supervisor does, and tells us."""
    for number in SIGNALS:
        # Not SIG_IGN, which every program that a task starts would inherit: nothing but KILL would end it.
        signal.signal(number, lambda number, frame: None)
        signal.siginterrupt(number, False)


def _become_a_process_of_its_own(memory: SharedMemory) -> None:
    """In a fork that a task has made: it ends when it is told to, and does not make the worker look alive."""
    memory.close()
    for number in SIGNALS:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def _say_what_is_broken(channel: Channel, error: BaseException) -> None:
    traceback.print_exception(error)
    text = "".join(traceback.format_exception_only(error)).strip()
    channel.send_all(broken=text, files=[*files_of(error), *loaded_files()], folders=[])


def _end_process(code: int) -> NoReturn:
    """
    End at once: neither threads that hang nor whatever tasks have left behind may hold the process.

    Flushing takes locks, and one of those threads may have hung while it held one.
    """
    flushing = threading.Thread(target=_flush, daemon=True)
    flushing.start()
    flushing.join(GRACE)
    os._exit(code)


def _flush() -> None:
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
