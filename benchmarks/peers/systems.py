"""The systems that the benchmarks compare: what each needs, how its worker is started, and its settings."""

from dataclasses import dataclass, replace

PYTHON = "{bin}/python"


@dataclass(frozen=True)
class System:
    """
    `packages` go into an environment of its own. `worker` is the command of the storm, of which `copies` run beside
    each other, with these `settings`; `quick` is the one for speed, of one process, with `quick_settings`; `stored`
    counts the outcomes. A system without `worker` or without `quick` takes no part there.
    """

    name: str
    packages: tuple[str, ...]
    needs: tuple[str, ...]  # services, of "redis" and "postgresql"
    worker: str = ""
    settings: str = ""
    quick: str = ""
    quick_settings: str = ""
    stored: str = ""
    prepare: str = ""
    copies: int = 1
    patience: float = 20.0  # seconds without movement after which the calm phase ends

    @property
    def command(self) -> str:
        return " & ".join([self.worker] * self.copies) + " & wait"


MIGRATE = f"{PYTHON} -m django migrate -v 0"
OURS = f"{PYTHON} -m django mainspring worker --processes 2 --threads 1"


def on_both(name: str, package: str, **facts: str) -> tuple[System, System]:
    """Return a system on SQLite and on PostgreSQL."""
    sqlite = System(name=f"{name}-sqlite", packages=(package,), needs=(), prepare=MIGRATE, **facts)
    postgresql = {"name": f"{name}-postgresql", "packages": (package, "psycopg[binary]"), "needs": ("postgresql",)}
    return sqlite, replace(sqlite, **postgresql)


SYSTEMS = (
    *on_both(
        "mainspring",
        "{root}",
        worker=OURS,
        settings="2 processes with 1 thread; all else default",
        quick=f"{PYTHON} -m django mainspring worker",
        quick_settings="all default",
        stored="SELECT COUNT(*) FROM mainspring_finished",
    ),
    System(
        name="huey",
        packages=("huey",),
        needs=(),
        worker="{bin}/huey_consumer peer_app.huey -w 2 -k thread",
        settings="SqliteHuey, fsync=True, 2 threads; a task is taken off the queue before it runs, and there is no"
        " setting to keep it there",
    ),
    System(
        name="rq",
        packages=("rq",),
        needs=("redis",),
        worker="{bin}/rq worker -q --url {redis} --maintenance-interval 5 --job-monitoring-interval 5",
        copies=2,
        patience=100.0,
        settings="2 workers, Retry(max=100), maintenance every 5 s, monitoring every 5 s. A job is given up 60 s after"
        " the last monitoring at the earliest, so the calm phase waits 100 s here",
    ),
    System(
        name="dramatiq",
        packages=("dramatiq[redis]",),
        needs=("redis",),
        worker="{bin}/dramatiq peer_app --processes 1 --threads 2",
        settings="Redis, 1 process of 2 threads, heartbeat_timeout 5 s (default 60 s), maintenance_chance 10%"
        " (default 0.1%)",
    ),
    System(
        name="django-tasks-db",
        packages=("django-tasks-db",),
        needs=(),
        prepare=MIGRATE,
        worker=f"{PYTHON} -m django db_worker --interval 0.1 --no-startup-delay -v 0",
        copies=2,
        settings="DatabaseBackend on SQLite, 2 workers, interval 0.1 s; no setting for workers that die",
    ),
    System(
        name="procrastinate",
        packages=("procrastinate", "psycopg[binary]"),
        needs=("postgresql",),
        prepare="{bin}/procrastinate --app peer_app.app schema --apply",
        worker="{bin}/procrastinate --app peer_app.app worker",
        settings="concurrency 2, heartbeat every 1 s, stalled after 5 s (defaults 10 and 30 s), and the documented"
        " periodic task that retries stalled jobs, every 5 s",
    ),
    System(
        name="celery",
        packages=("celery[redis]",),
        needs=("redis",),
        worker="{bin}/celery -A peer_app:app worker -c 2 -l ERROR",
        settings="Redis, prefork of 2, acks_late, reject_on_worker_lost, prefetch_multiplier 1, "
        "visibility_timeout 10 s (default 1 h), looked at every 2 s (unacked_restore_interval and _throttle; default"
        " 100 s), unacked_mutex_expire 10 s (default 5 min)",
    ),
    System(
        name="django-q2",
        packages=("django-q2",),
        needs=(),
        prepare=MIGRATE,
        worker=f"{PYTHON} -m django qcluster",
        settings="ORM broker on SQLite, 2 workers, timeout 5 s, retry 8 s, ack_failures off, max_attempts 0, bulk 1,"
        " queue_limit 4",
    ),
    *on_both(
        "django-ox",
        "django-ox",
        quick=f"{PYTHON} -m django ox_worker --concurrency 4 --interval 0.1",
        quick_settings="concurrency 4, interval 0.1 s (default 1 s), CONN_MAX_AGE None; all else default",
        stored="SELECT COUNT(*) FROM django_ox_oxtask WHERE status = 'SUCCESSFUL'",
    ),
)
STORMED = tuple(system for system in SYSTEMS if system.worker)
QUICK = tuple(system for system in SYSTEMS if system.quick)
