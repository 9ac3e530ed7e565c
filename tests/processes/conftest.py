"""Real workers, started as a user would and stopped by their pid."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from mainspring.compat import task_backends

SOON = 30.0


class WorkerCommand:
    """One `mainspring worker` command, with what it has written so far."""

    def __init__(self, *flags, module="django mainspring", cwd=None, **environment):
        self.process = subprocess.Popen(
            [sys.executable, "-m", *module.split(), "worker", *flags],
            cwd=cwd,
            env=os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines = []
        self._wrote = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self._wrote:
                self.lines.append(line)
                self._wrote.notify_all()

    @property
    def output(self):
        return "".join(self.lines)

    def wait_for_line(self, text, count=1, timeout=SOON):
        with self._wrote:
            found = self._wrote.wait_for(lambda: self.output.count(text) >= count, timeout)
        assert found, f"never wrote {text!r} {count} times:\n{self.output}"

    def children(self):
        """The worker processes, oldest first."""
        found = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in found if _is_worker_process(child)]

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def wait(self, timeout=SOON):
        return self.process.wait(timeout)

    def end(self):
        """Leave nothing behind, whatever the test did."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                child.kill()
        self.process.kill()
        self.process.wait()
        self._reader.join(SOON)
        if not self._reader.is_alive():  # or a process that a task has left behind still holds the other end
            self.process.stdout.close()


def _is_worker_process(process):
    try:
        command = " ".join(process.cmdline())
        # Until it has its title it shows how it was started.
        return "mainspring.worker.child" in command or command.startswith("mainspring ")
    except psutil.NoSuchProcess:
        return False  # it ended while we looked


@pytest.fixture
def start_worker(transactional_db):
    """Start `mainspring worker` with these flags: `worker = start_worker("--drain")`."""
    broker = task_backends["default"].broker
    broker.check()
    workers = []

    def start(*flags, **environment):
        workers.append(WorkerCommand(*flags, **environment))
        return workers[-1]

    yield start
    for worker in workers:
        worker.end()
        print(worker.output)  # shown by pytest when the test has failed


@pytest.fixture
def broker():
    return task_backends["default"].broker


def wait_until(condition, timeout=SOON):
    """Wait for something that only the store can show."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        threading.Event().wait(0.02)


def end_of(result, broker, timeout=SOON):
    """Wait for the end of a job and return it."""
    job = broker.wait_for(result.id, timeout)
    assert job is not None
    assert job.finished_at is not None, f"still {job.state} after {timeout} s"
    return job


def rename(broker, id, task_path):
    """Let a job that nobody runs be one of another task, as if the code had changed meanwhile."""
    job = broker.get(id)
    broker.cancel([id])
    broker.delete([id])
    broker.push([job._replace(task_path=task_path)])
