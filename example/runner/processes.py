"""The two processes of the demo, the web server and the worker: starting, watching and stopping them."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

MANAGE = Path(__file__).resolve().parent.parent / "manage.py"
STOP_SECONDS = 15


class ProcessDied(RuntimeError):
    """A process of the demo ended by itself; the text holds the end of its log."""


@contextmanager
def running(log, *arguments):
    """Run `manage.py` with these arguments, its output in the file `log`, and stop it in the end."""
    with log.open("wb") as output:
        # In a session of its own a Ctrl-C reaches only the demo, which then stops its processes in order.
        process = subprocess.Popen(
            [sys.executable, "-u", str(MANAGE), *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    process.log = log
    try:
        yield process
    finally:
        stop(process)


def stop(process):
    """End a process with TERM; with KILL, and all it has started, when that does not help."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def check_alive(*processes):
    """Raise ProcessDied if one of the processes has ended."""
    for process in processes:
        if process.poll() is not None:
            tail = "\n".join(process.log.read_text(errors="replace").splitlines()[-20:])
            raise ProcessDied(f"{process.log.stem} ended with exit code {process.returncode}:\n{tail}")


def wait_until_open(port, process, seconds=30):
    """Wait until the server accepts connections."""
    deadline = monotonic() + seconds
    while not is_open(port):
        check_alive(process)
        if monotonic() > deadline:
            raise ProcessDied(f"nothing listens on port {port} after {seconds} seconds")
        sleep(0.05)


def is_open(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def free_port(preferred):
    """Return the preferred port if nobody has it, else any free one."""
    for port in (preferred, 0):
        with socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                server.bind(("127.0.0.1", port))
            except OSError:
                continue
            return server.getsockname()[1]
    raise OSError("no free port")
