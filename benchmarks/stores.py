"""Private, durable stores for benchmarks: servers with fsync on, SQLite at FULL and at NORMAL, Redis with its log."""

import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

NAMES = ("sqlite", "sqlite-full", "postgresql", "mariadb", "redis", "redis-always")


@contextlib.contextmanager
def store(name):
    """Set the environment up for one store, migrated and empty; give its name as people read it."""
    from tests import servers

    with contextlib.ExitStack() as stack:
        url = ""
        if name.startswith("redis"):
            fsync = "always" if name.endswith("always") else "everysec"
            url = stack.enter_context(servers.Redis(appendonly="yes", appendfsync=fsync)).url
        if name.startswith(("sqlite", "redis")):
            directory = stack.enter_context(tempfile.TemporaryDirectory())
            database = _sqlite(f"{directory}/benchmark.sqlite3", "FULL" if name.endswith("full") else "NORMAL")
        else:
            server = stack.enter_context(
                (servers.PostgreSQL if name == "postgresql" else servers.MariaDB)(durable=True)
            )
            database = server.django_settings()
        os.environ |= {
            "BENCHMARK_DATABASE": json.dumps(database),
            "BENCHMARK_REDIS": url,
            "DJANGO_SETTINGS_MODULE": "benchmarks.project.settings",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]),
        }
        yield name


def _sqlite(path, synchronous):
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": f"PRAGMA journal_mode=WAL; PRAGMA synchronous={synchronous};",
        },
    }
