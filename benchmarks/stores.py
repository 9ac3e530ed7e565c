"""Private, durable stores for benchmarks: servers with fsync on, SQLite at FULL and at NORMAL, Redis with its log."""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# Workers and clients must have the code that lies beside the benchmarks, whichever version is installed.
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

SETTINGS = {
    "sqlite": "WAL, synchronous NORMAL, transaction_mode IMMEDIATE",
    "sqlite-full": "WAL, synchronous FULL, transaction_mode IMMEDIATE",
    "postgresql": "fsync on, synchronous_commit on, shared_buffers 128MB",
    "mariadb": "innodb_flush_log_at_trx_commit 1, innodb_buffer_pool_size 128M, no binary log",
    "redis": "appendonly yes, appendfsync everysec, no snapshots",
    "redis-always": "appendonly yes, appendfsync always, no snapshots",
}
NAMES = tuple(SETTINGS)
USUAL = ("sqlite", "sqlite-full", "postgresql", "mariadb", "redis")


@dataclass(frozen=True)
class Store:
    """One store: what tells other processes where it is, and its server, one of the tests', if it has one."""

    name: str
    environment: dict[str, str]
    server: Any = None

    @property
    def kind(self) -> str:
        return self.name.partition("-")[0]


@contextlib.contextmanager
def store(name: str) -> Iterator[Store]:
    """Start one store, migrated and empty, and set this process's environment up for it."""
    from tests import servers

    with contextlib.ExitStack() as stack:
        url, server = "", None
        if name.startswith("redis"):
            fsync = "always" if name.endswith("always") else "everysec"
            server = stack.enter_context(servers.Redis(appendonly="yes", appendfsync=fsync))
            url = server.url
        if name.startswith(("sqlite", "redis")):
            directory = stack.enter_context(tempfile.TemporaryDirectory())
            database = _sqlite(f"{directory}/benchmark.sqlite3", "FULL" if name.endswith("full") else "NORMAL")
        else:
            server = stack.enter_context(
                (servers.PostgreSQL if name == "postgresql" else servers.MariaDB)(durable=True)
            )
            database = server.django_settings()
        environment = {
            "BENCHMARK_DATABASE": json.dumps(database),
            "BENCHMARK_REDIS": url,
            "DJANGO_SETTINGS_MODULE": "benchmarks.project.settings",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]),
        }
        os.environ |= environment
        subprocess.run([sys.executable, "-m", "django", "migrate", "--skip-checks", "--verbosity", "0"], check=True)
        yield Store(name, environment, server)


def parser_of(document: str, names: Sequence[str] = USUAL) -> argparse.ArgumentParser:
    """Return a parser with the options of every benchmark that can choose among these stores."""
    parser = argparse.ArgumentParser(description=document, formatter_class=argparse.RawDescriptionHelpFormatter)
    others = tuple(name for name in NAMES if name.partition("-")[0] in names and name not in names)
    parser.add_argument(
        "--store", action="append", choices=[*names, *others], help=f"default: {', '.join(names)}", dest="stores"
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures into this file too")
    parser.set_defaults(usual=names)
    return parser


def chosen(options: argparse.Namespace) -> list[str]:
    return list(options.stores or options.usual)


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return what a report says of its settings: the options, and how each chosen store is set up."""
    own = {name: value for name, value in vars(options).items() if name not in ("stores", "usual", "json")}
    return own | {name: f"({SETTINGS[name]})" for name in chosen(options)}


def _sqlite(path: str, synchronous: str) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": f"PRAGMA journal_mode=WAL; PRAGMA synchronous={synchronous};",
        },
    }
