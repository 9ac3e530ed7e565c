"""The worker commands of a storm, and the ways in which they can be struck; every strike is in the log."""

import signal
import time
from collections.abc import Collection

import psutil

from tests.processes.conftest import SOON, WorkerCommand
from tests.torture import events

PROCESSES = 2


class Fleet:
    """So many `worker` commands of two processes each. What a strike ends is replaced at once."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.commands: list[WorkerCommand] = []
        self.unclean: list[str] = []  # what ended otherwise than it should have
        self._ended: list[WorkerCommand] = []
        self._orphans: list[psutil.Process] = []
        self._stopped: list[psutil.Process] = []
        self._stopped_at = 0.0

    def start(self) -> float:
        """Start all commands and return after how many seconds all of their processes were ready."""
        began = time.monotonic()
        self.commands = [self._new() for _ in range(self.size)]
        self.wait_until_ready()
        return time.monotonic() - began

    def wait_until_ready(self) -> None:
        for command in self.commands:
            command.wait_for_line("is ready", PROCESSES)

    @property
    def free(self) -> list[WorkerCommand]:
        """The commands that are not stopped."""
        stopped = {process.pid for process in self._stopped}
        return [command for command in self.commands if command.process.pid not in stopped]

    def stood_still_for(self) -> float:
        """For how many seconds a command has been stopped; 0 if none is."""
        return time.monotonic() - self._stopped_at if self._stopped else 0.0

    @property
    def processes(self) -> int:
        """How many worker processes there are when nothing happens."""
        return self.size * PROCESSES

    # Strikes.

    def kill_tree(self, command: WorkerCommand) -> None:
        """Kill the supervisor and everything below it."""
        self._kill(_family(command))
        self._replace(command)

    def kill_child(self, child: psutil.Process) -> None:
        """Kill one worker process; its supervisor replaces it."""
        self._kill([child])

    def kill_supervisor(self, command: WorkerCommand) -> None:
        """Kill the supervisor alone; its worker processes should notice and end."""
        supervisor, *children = _family(command)
        events.write("orphaned", detail=[child.pid for child in children])
        self._kill([supervisor])
        self._orphans += children
        self._replace(command)

    def stop(self, command: WorkerCommand, *, with_children: bool) -> None:
        """Stop a command, or its supervisor alone, as a debugger or a suspended machine would."""
        self._stopped, self._stopped_at = _family(command), time.monotonic()
        events.write("stopped", detail=[process.pid for process in self._stopped])
        for child in self._stopped[1:] if with_children else []:
            child.suspend()

    def go_on(self) -> None:
        """Let what was stopped go on."""
        if not self._stopped:
            return
        events.write("continued", detail=[process.pid for process in self._stopped])
        for process in self._stopped:
            if process.is_running():
                process.resume()
        self._stopped = []

    def deploy(self, command: WorkerCommand) -> None:
        """TERM a command while the next one starts, and wait for its end."""
        events.write("told", detail=[command.process.pid, *(child.pid for child in command.children())])
        command.terminate()
        self._replace(command)
        self._wait_for_end(command)

    def _kill(self, processes: Collection[psutil.Process]) -> None:
        # The moment before the signal: what runs again from now on does not overlap with what is killed.
        events.write("killed", detail=[process.pid for process in processes])
        for process in processes:
            process.kill()

    def _replace(self, command: WorkerCommand) -> None:
        self._ended.append(command)
        self.commands[self.commands.index(command)] = self._new()

    def _new(self) -> WorkerCommand:
        return WorkerCommand("--processes", str(PROCESSES))

    # The end.

    def end(self) -> None:
        """Tell all to stop as an administrator would, and note what does not end as it should."""
        for command in self.commands:
            if command.process.poll() is not None:
                self.unclean.append(f"A command that nobody touched has ended.\n{command.output}")
            command.terminate()
        for command in self.commands:
            self._wait_for_end(command)
        _, left = psutil.wait_procs(self._orphans, timeout=SOON)
        self.unclean += [f"Process {child.pid} lives on though its supervisor has died." for child in left]
        for command in [*self._ended, *self.commands]:
            if "error of its own" in command.output or "exited with code" in command.output:
                self.unclean.append(f"A process met an error of its own.\n{command.output}")

    def kill_all(self) -> None:
        """Leave nothing behind, whatever the storm did."""
        self.go_on()
        for process in self._orphans:
            if process.is_running():
                process.kill()
        for command in [*self._ended, *self.commands]:
            command.end()

    def _wait_for_end(self, command: WorkerCommand) -> None:
        code = command.wait()
        if code:
            self.unclean.append(f"A command that was told to stop has ended with exit code {code}.\n{command.output}")


def _family(command: WorkerCommand) -> list[psutil.Process]:
    """Return the supervisor, stopped so that it starts nothing behind our back, and everything below it."""
    supervisor = psutil.Process(command.process.pid)
    supervisor.send_signal(signal.SIGSTOP)
    return [supervisor, *supervisor.children(recursive=True)]
