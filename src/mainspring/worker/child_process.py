"""A child as its supervisor sees it: a process, a line to it, and the memory of what it runs."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from typing import IO, Any

from mainspring.brokers.base import WorkerInfo
from mainspring.worker.caretaker import Death
from mainspring.worker.channel import Channel
from mainspring.worker.child import EXIT_CUT_OFF, STACK_SIGNAL
from mainspring.worker.memory import used_by
from mainspring.worker.plan import Plan
from mainspring.worker.scratch import scratch_file
from mainspring.worker.shared_memory import Running, SharedMemory


class ChildProcess:
    """Start one with `ChildProcess.start(plan, ...)`."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        plan: Plan,
        worker: WorkerInfo,
        channel: Channel,
        memory: SharedMemory,
        stack_file: IO[bytes],
    ) -> None:
        self.plan = plan
        self.channel = channel
        self.memory = memory
        self.is_ready = False
        self.is_over = False  # it said that it is done; what ends without saying so has crashed
        self.has_run_any = False  # as far as it has said
        self.has_left_any = False  # jobs that it cannot run, as far as it has said
        self.is_broken = False  # it said that its code cannot be loaded
        self.is_retiring = False  # it claims no more, and another has taken its place
        self._process = process
        self._worker = worker
        self._stack_file = stack_file
        self._was_killed = False
        self._is_stopping = False
        self._left_alone: list[str] = []  # the paths of tasks that it cannot run, as far as it has said
        self._is_told = True  # to retire, if it has to
        self._overrun: dict[str, str] = {}
        self._started_at = time.monotonic()

    @classmethod
    def start(cls, plan: Plan, worker_id: str, memory: SharedMemory) -> "ChildProcess":
        """Start a process that works under this id, and notes in `memory` what it runs."""
        near, far = socket.socketpair()
        stack_file = scratch_file()
        descriptors = [far.fileno(), memory.fd, stack_file.fileno()]
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "mainspring.worker.child",
                plan.to_json(),
                worker_id,
                ",".join(map(str, descriptors)),
            ],
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
            process_group=0,  # the terminal's Ctrl-C is for the supervisor alone
        )
        far.close()
        facts = {
            "backend": plan.backend,
            "pid": process.pid,
            "host": socket.gethostname(),
            "alone": plan.is_alone,
            "queues": plan.queues,
            "threads": plan.options.threads,
            "async": plan.options.async_jobs,
            "rescue_after": plan.options.rescue_after,  # others have to wait for so long
        }
        return cls(process, plan, WorkerInfo(worker_id, facts=facts), Channel(near, waits=False), memory, stack_file)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def worker_id(self) -> str:
        return self._worker.id

    @property
    def info(self) -> WorkerInfo:
        """The worker as the store is to know it now."""
        facts = {
            "memory": used_by(self.pid),
            "stopping": self._is_stopping,
            "left_alone": self._left_alone,
        }
        return replace(self._worker, facts=self._worker.facts | facts)

    def heard(self, message: dict[str, Any]) -> None:
        self.is_ready = self.is_ready or "ready" in message
        if "over" in message:
            self.is_ready, self.is_over = False, True
            self.has_run_any, self.has_left_any = message["has_run_any"], message["has_left_any"]
        if "left_alone" in message:
            self._left_alone = message["left_alone"]
        if "broken" in message:
            self.is_broken = True

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def stop(self, within: float) -> None:
        """Let it claim no more, and end within so many seconds."""
        self._is_stopping = True
        self.memory.note_stop()
        self.channel.send(stop=within)

    def retire(self) -> None:
        """Let it claim no more and end when its running jobs have."""
        self.is_retiring = True
        self._is_told = self.channel.send(retire=True)

    def tell_again(self) -> None:
        """Repeat what the channel had no room for, as a task held the interpreter and nothing was read."""
        if not self._is_told:
            self._is_told = self.channel.send(retire=True)

    def kill(self) -> None:
        self._was_killed = True
        self._process.kill()

    def end_overrun(self, now: float, margin: float) -> bool:
        """
        Kill the process if it should have ended a job itself `margin` seconds ago; return whether it did.

        Its interpreter is then held by some task, and nothing in it can act any more.
        """
        late = [running for running in self.memory.running() if 0.0 < running.gives_up_at < now - margin]
        if not late or self._was_killed:
            return False
        stack = self.dump_stacks()
        self._overrun = {running.job_id: stack_of_thread(stack, running) for running in late}
        self.kill()
        return True

    def dump_stacks(self, patience: float = 0.5) -> str:
        """Return the stacks of all threads, written by a handler in C that needs no interpreter; "" if none came."""
        self._stack_file.seek(0)
        self._stack_file.truncate()
        self._process.send_signal(STACK_SIGNAL)
        deadline, size = time.monotonic() + patience, -1
        while time.monotonic() < deadline and (size <= 0 or size != os.fstat(self._stack_file.fileno()).st_size):
            size = os.fstat(self._stack_file.fileno()).st_size
            time.sleep(0.02)
        self._stack_file.seek(0)
        return self._stack_file.read().decode(errors="replace")

    def runs(self, job_id: str) -> Running | None:
        """Return what the child notes about this job, None if it does not run there."""
        return next((running for running in self.memory.running() if running.job_id == job_id), None)

    def age(self) -> float:
        return time.monotonic() - self._started_at

    def death(self) -> Death:
        """
        Return what there is to know once it has been reaped.

        While the worker stops, a KILL is a service manager's impatience and no fault of the job.
        """
        code = self._process.returncode
        was_impatience = self._is_stopping and code == -signal.SIGKILL
        was_cut_off = self.is_over and code == EXIT_CUT_OFF  # which a task can exit with too
        was_killed = self._was_killed or was_impatience or was_cut_off
        return Death(
            worker_id=self.worker_id,
            started=self.memory.started(),
            was_killed=was_killed,
            reason=f"The process that ran this job {self.how_it_ended()}.",
            overrun=self._overrun,
            forget=self.memory.close,
        )

    def how_it_ended(self) -> str:
        code = self._process.returncode
        if code < 0:
            known = {number.value: number.name for number in signal.Signals}
            return f"was ended by {known.get(-code, f'signal {-code}')}"
        return f"exited with code {code}"

    def close(self) -> None:
        """Give back what is not needed once the process has ended; its memory is kept until it has been buried."""
        self.channel.close()
        self._stack_file.close()


def new_worker_id() -> str:
    return f"{socket.gethostname()[:32]}:{os.getpid()}:{secrets.token_hex(6)}"


def stack_of_thread(stacks: str, running: Running) -> str:
    """Return the part of all stacks, innermost call first, that is about the thread in which this job runs."""
    head = f"0x{running.thread_id:016x}"
    return next((part for part in stacks.split("\n\n") if head in part.partition("\n")[0]), stacks)
