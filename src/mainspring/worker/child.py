"""A worker process: it has the project's code, runs jobs, and ends when its supervisor does."""

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from typing import Any

from mainspring.worker.blame import Blame
from mainspring.worker.channel import Channel

logger = logging.getLogger("mainspring.worker")

EXIT_DONE = 0
EXIT_BROKEN = 70
EXIT_CUT_OFF = 75  # it stopped in time, but jobs were still running


class ChildReports:
    """Passes a worker's reports on: what runs into shared memory, the rest up the line."""

    def __init__(self, channel: Channel, blame: Blame) -> None:
        self._channel = channel
        self.started = blame.start
        self.ended = blame.end

    def found_more(self) -> None:
        self._channel.send(found_more=True)

    def busy(self) -> None:
        self._channel.send(busy=True)

    def deferred(self, due_at: int) -> None:
        self._channel.send(deferred=due_at)


def main(arguments: Sequence[str]) -> None:
    """Run as `python -m mainspring.worker.child PLAN WORKER_ID SOCKET BLAME`; the last two are file descriptors."""
    text, worker_id, channel_fd, blame_fd = arguments
    # The terminal's Ctrl-C and a service manager's TERM are the supervisor's business; it tells us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    channel = Channel(socket.socket(fileno=int(channel_fd)))

    import django

    django.setup()

    from mainspring.worker.plan import Plan
    from mainspring.worker.terminal import log_to_terminal

    log_to_terminal()
    plan = Plan.from_json(text)
    worker = _make_worker(plan, worker_id, ChildReports(channel, Blame(int(blame_fd), plan.slots)))
    threading.Thread(target=_work, args=(worker, channel), name="mainspring-worker", daemon=True).start()
    channel.send(ready=True)
    _obey(channel, worker, plan)


def _make_worker(plan: Any, worker_id: str, reports: ChildReports) -> Any:
    from mainspring.compat import task_backends
    from mainspring.worker.worker import Worker

    backend: Any = task_backends[plan.backend]
    options = plan.options
    return Worker(
        backend.broker,
        options,
        type(backend),
        worker_id=worker_id,
        queues=plan.queues,
        reports=reports,
        max_jobs=options.max_jobs,
        max_idle=options.max_idle,
        drain=options.drain,
    )


def _work(worker: Any, channel: Channel) -> None:
    code = EXIT_BROKEN
    try:
        code = EXIT_DONE if worker.run() else EXIT_CUT_OFF
        channel.send(over=True)
    except BaseException:
        logger.exception("The worker process met an error of its own and ends; its jobs go back.")
    finally:
        # Not sys.exit: threads that hang, and whatever tasks have left behind, must not hold the process.
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _obey(channel: Channel, worker: Any, plan: Any) -> None:
    """Do what the supervisor says. When the line breaks it has died: then finish as if it had said stop."""
    while channel.is_open:
        for message in channel.receive():
            if "wake" in message:
                worker.wake()
            if "stop" in message:
                worker.stop(message["stop"])
            if "ended" in message:
                worker.announce_ended(message["ended"])
    worker.stop(plan.options.shutdown_timeout)
    threading.Event().wait()  # `_work` ends the process


if __name__ == "__main__":
    main(sys.argv[1:])
