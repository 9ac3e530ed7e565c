"""Private, durable stores for benchmarks: the test servers with fsync on, and SQLite at FULL and at NORMAL."""

import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

NAMES = ("sqlite", "sqlite-full", "postgresql", "mariadb")


@contextlib.contextmanager
def store(name):
    """Set the environment up for one store, migrated and empty; give its name as people read it."""
    from tests import servers

    with contextlib.ExitStack() as stack:
        if name.startswith("sqlite"):
            directory = stack.enter_context(tempfile.TemporaryDirectory())
            synchronous = "FULL" if name.endswith("full") else "NORMAL"
            database = {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": f"{directory}/benchmark.sqlite3",
                "OPTIONS": {
                    "transaction_mode": "IMMEDIATE",
                    "timeout": 20,
                    "init_command": f"PRAGMA journal_mode=WAL; PRAGMA synchronous={synchronous};",
                },
            }
        else:
            server = stack.enter_context(
                (servers.PostgreSQL if name == "postgresql" else servers.MariaDB)(durable=True)
            )
            database = server.django_settings()
        os.environ |= {
            "BENCHMARK_DATABASE": json.dumps(database),
            "DJANGO_SETTINGS_MODULE": "benchmarks.project.settings",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]),
        }
        yield name
