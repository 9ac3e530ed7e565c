"""A child as its supervisor sees it: a process, a line to it, and the memory of what it runs."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from typing import Any

from mainspring.brokers.base import WorkerInfo
from mainspring.worker.blame import Blame
from mainspring.worker.caretaker import Death
from mainspring.worker.channel import Channel
from mainspring.worker.child import EXIT_CUT_OFF
from mainspring.worker.plan import Plan


class ChildProcess:
    """Start one with `ChildProcess.start(plan)`."""

    def __init__(
        self, process: subprocess.Popen[bytes], backend: str, worker_id: str, channel: Channel, blame: Blame
    ) -> None:
        self.channel = channel
        self.is_ready = False
        self.is_over = False  # it said that it is done; what ends without saying so has crashed
        self._process = process
        self._backend = backend
        self._worker_id = worker_id
        self._blame = blame
        self._was_killed = False
        self._started_at = time.monotonic()

    @classmethod
    def start(cls, plan: Plan) -> "ChildProcess":
        near, far = socket.socketpair()
        blame = Blame.create(plan.slots)
        worker_id = f"{socket.gethostname()[:32]}:{os.getpid()}:{secrets.token_hex(6)}"
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "mainspring.worker.child",
                plan.to_json(),
                worker_id,
                str(far.fileno()),
                str(blame.fd),
            ],
            pass_fds=[far.fileno(), blame.fd],
            stdin=subprocess.DEVNULL,
            process_group=0,  # the terminal's Ctrl-C is for the supervisor alone
        )
        far.close()
        return cls(process, plan.backend, worker_id, Channel(near, waits=False), blame)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def info(self) -> WorkerInfo:
        facts = {"backend": self._backend, "pid": self.pid, "host": socket.gethostname()}
        return WorkerInfo(id=self._worker_id, facts=facts)

    def heard(self, message: dict[str, Any]) -> None:
        self.is_ready = self.is_ready or "ready" in message
        if "over" in message:
            self.is_ready, self.is_over = False, True

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def kill(self) -> None:
        self._was_killed = True
        self._process.kill()

    def age(self) -> float:
        return time.monotonic() - self._started_at

    def death(self, *, was_stopping: bool) -> Death:
        """
        Return what there is to know once it has been reaped.

        While the worker stops, a KILL is a service manager's impatience and no fault of the job.
        """
        was_impatience = was_stopping and self._process.returncode == -signal.SIGKILL
        was_killed = self._was_killed or was_impatience or self._process.returncode == EXIT_CUT_OFF
        return Death(
            worker_id=self._worker_id,
            started=self._blame.started(),
            was_killed=was_killed,
            reason=f"The process that ran this job {self.how_it_ended()}.",
        )

    def how_it_ended(self) -> str:
        code = self._process.returncode
        if code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"exited with code {code}"

    def close(self) -> None:
        self.channel.close()
        self._blame.close()
