"""What can be done to workers and their server: each scenario strikes once; a storm repeats it until it is over."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.torture.storm import Storm

STOPPED = 16.0  # seconds, longer than the lease and the beat before it
SERVER_KILLS = 3
DOWN = 1.0


def group(storm: "Storm") -> None:
    """Kill a whole command, a second or more after it has begun to run jobs."""
    command = storm.choose(storm.fleet.free)
    storm.wait_for_run(command)
    storm.pause(1.0, 1.6)
    storm.strike(lambda: storm.fleet.kill_tree(command), command.children())


def children(storm: "Storm") -> None:
    """Kill one worker process, any."""
    storm.pause(0.4, 1.2)
    found = [child for command in storm.fleet.free for child in command.children()]
    if found:
        child = storm.choose(found)
        storm.strike(lambda: storm.fleet.kill_child(child), [child])


def supervisor(storm: "Storm") -> None:
    """Kill a supervisor alone."""
    command = storm.choose(storm.fleet.free)
    storm.wait_for_run(command)
    storm.pause(1.0, 1.6)
    storm.strike(lambda: storm.fleet.kill_supervisor(command))


def server(storm: "Storm") -> None:
    """Kill the database server three times in all, each time for a second."""
    storm.pause(storm.seconds / (SERVER_KILLS + 2))
    if storm.server_kills < SERVER_KILLS:
        storm.strike(lambda: storm.kill_server(DOWN))


def stop(storm: "Storm") -> None:
    """Stop a command, or its supervisor alone, until others must think it dead, and let it go on."""
    _stop_one(storm)
    storm.pause(STOPPED)
    storm.strike(storm.fleet.go_on)
    storm.pause(1.0, 3.0)


def term(storm: "Storm") -> None:
    """Deploy: a command is told to stop under load while the next one starts."""
    command = storm.choose(storm.fleet.free)
    storm.wait_for_run(command)
    storm.pause(1.0, 1.6)
    storm.strike(lambda: storm.fleet.deploy(command))


def mixed(storm: "Storm") -> None:
    """Any of them; while a command stands still the others are struck."""
    if storm.fleet.stood_still_for() > STOPPED:
        return storm.strike(storm.fleet.go_on)
    among = [group, children, supervisor, term]
    if storm.server and storm.server_kills < SERVER_KILLS:
        among.append(server)
    if not storm.fleet.stood_still_for() and storm.fleet.size > 1:
        among.append(_stop_one)
    storm.choose(among)(storm)


def _stop_one(storm: "Storm") -> None:
    command = storm.choose(storm.fleet.free)
    storm.wait_for_run(command)
    storm.strike(lambda: storm.fleet.stop(command, with_children=storm.choose([True, False])))


SCENARIOS: dict[str, Callable[["Storm"], None]] = {
    scenario.__name__: scenario for scenario in (group, children, supervisor, server, stop, term, mixed)
}
