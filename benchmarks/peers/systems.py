"""The systems that the benchmarks compare: what each needs, how its worker is started, and its settings."""

from dataclasses import dataclass, replace
from typing import Any

PYTHON = "{bin}/python"


@dataclass(frozen=True)
class System:
    """
    `packages` go into an environment of its own. `worker` is the command of the storm, of which `copies` run beside
    each other, with these `settings`; `quick` is the one for speed, of one process, with `quick_settings`, and `share`
    how many of the jobs it gets. A system without `worker` or without `quick` takes no part there. `bulk` names its
    own way to enqueue many jobs at once, and `without` a kind of job that it cannot run, with the reason.
    """

    name: str
    packages: tuple[str, ...]
    needs: tuple[str, ...]  # services, of "postgresql", "mariadb" and "redis"
    worker: str = ""
    settings: str = ""
    quick: str = ""
    quick_settings: str = ""
    share: float = 1.0
    prepare: str = ""
    copies: int = 1
    patience: float = 20.0  # seconds without movement after which the calm phase ends
    synchronous: str = "FULL"  # of SQLite
    bulk: str = ""
    without: tuple[str, str] = ("", "")

    @property
    def store(self) -> str:
        return self.needs[0] if self.needs else "sqlite"

    def jobs_of(self, jobs: int) -> int:
        """Return how many of so many jobs the system gets for speed."""
        return max(round(jobs * self.share), 1)

    @property
    def command(self) -> str:
        return " & ".join([self.worker] * self.copies) + " & wait"


MIGRATE = f"{PYTHON} -m django migrate -v 0"
OURS = f"{PYTHON} -m django mainspring worker --processes 2 --threads 1"
NO_COROUTINES = ("async_noop", "it runs no coroutines")


def on_databases(name: str, package: str, **facts: Any) -> tuple[System, ...]:
    """Return a system on SQLite, on SQLite at synchronous NORMAL, on PostgreSQL and, for speed only, on MariaDB."""
    sqlite = System(name=f"{name}-sqlite", packages=(package,), needs=(), prepare=MIGRATE, **facts)
    postgresql = {"name": f"{name}-postgresql", "packages": (package, "psycopg[binary]"), "needs": ("postgresql",)}
    mariadb = {"name": f"{name}-mariadb", "packages": (package, "mysqlclient"), "needs": ("mariadb",), "worker": ""}
    return *at_full_and_normal(sqlite), replace(sqlite, **postgresql), replace(sqlite, **mariadb)


def at_full_and_normal(system: System) -> tuple[System, System]:
    """Return a system on SQLite with synchronous FULL and, for speed only, with NORMAL."""
    told = f"{system.quick_settings}; synchronous"
    normal = replace(system, name=f"{system.name}-normal", synchronous="NORMAL", worker="")
    return (
        replace(system, quick_settings=f"{told} FULL"),
        replace(normal, quick_settings=f"{told} NORMAL, so that a loss of power may cost the last commits"),
    )


def on_redis(name: str, *packages: str, **facts: Any) -> System:
    """Return a system on Redis, with the fast parser of replies for all alike."""
    return System(name=name, packages=(*packages, "hiredis"), needs=("redis",), **facts)


SYSTEMS = (
    *on_databases(
        "mainspring",
        "{root}",
        worker=OURS,
        settings="2 processes with 1 thread; all else default",
        quick=f"{PYTHON} -m django mainspring worker",
        quick_settings="all default, so 4 threads and 100 coroutines",
        bulk="enqueue_many",
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
        name="huey-sqlite",
        packages=("huey",),
        needs=(),
        quick="{bin}/huey_consumer peer_app.huey -q -w 1 -k thread",
        quick_settings="SqliteHuey, fsync=True, 1 thread, quiet (else it writes two lines for each job and is half as"
        " fast), store_none; a task is off the queue before it runs; keeps results until they are read",
        without=NO_COROUTINES,
    ),
    System(
        name="huey-sqlite-no-fsync",
        packages=("huey",),
        needs=(),
        synchronous="NORMAL",
        quick="{bin}/huey_consumer peer_app.huey -q -w 1 -k thread",
        quick_settings="the same with fsync=False, which is synchronous OFF; huey has no setting for NORMAL. A loss of"
        " power may cost the last commits, as at NORMAL, and also the database",
        without=NO_COROUTINES,
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
    *at_full_and_normal(
        System(
            name="django-tasks-db",
            packages=("django-tasks-db",),
            needs=(),
            prepare=MIGRATE,
            worker=f"{PYTHON} -m django db_worker --interval 0.1 --no-startup-delay -v 0",
            copies=2,
            settings="DatabaseBackend on SQLite, 2 workers, interval 0.1 s; no setting for workers that die",
            quick=f"{PYTHON} -m django db_worker --interval 0.1 --no-startup-delay -v 0",
            quick_settings="interval 0.1 s (default 1 s), -v 0, CONN_MAX_AGE None; has no threads; a job whose worker"
            " dies stays as it was",
            share=0.1,
        )
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
        name="procrastinate-postgresql",
        packages=("procrastinate", "psycopg[binary]"),
        needs=("postgresql",),
        prepare="{bin}/procrastinate --app peer_app.app schema --apply",
        quick="{bin}/procrastinate --app peer_app.app --log-level error worker --concurrency 10",
        quick_settings="PsycopgConnector, concurrency 10 (default 1), log level error (default info); keeps jobs, but"
        " no results; a job whose worker dies waits for the project to retry it. Without its own Django integration,"
        " which would look at the connections around each job",
        bulk="batch_defer",
        share=0.1,
    ),
    System(
        name="pgqueuer",
        packages=("pgqueuer", "asyncpg", "uvloop"),
        needs=("postgresql",),
        prepare="PGDSN=$PEER_POSTGRESQL {bin}/pgq install && PGDSN=$PEER_POSTGRESQL {bin}/pgq autovac",
        quick=f"{PYTHON} -c \"import pgqueuer, uvloop; uvloop.run(pgqueuer.run('peer_app:worker', batch_size=1000))\"",
        quick_settings="AsyncpgPoolDriver, batch size 1000 (default 10; 100 and a single connection are slower),"
        " uvloop, and the autovacuum settings it recommends; all jobs are coroutines; keeps a log of jobs, but no"
        " arguments and no results. Its query is the same SELECT through asyncpg, without Django's ORM",
        bulk="a list for enqueue",
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
    *on_databases(
        "django-ox",
        "django-ox",
        quick=f"{PYTHON} -m django ox_worker --concurrency 4 --interval 0.1",
        quick_settings="concurrency 4, interval 0.1 s (default 1 s), CONN_MAX_AGE None; all else default",
        bulk="enqueue_many",
        share=0.2,
    ),
    on_redis(
        "mainspring-redis",
        "{root}[redis]",
        prepare=MIGRATE,
        quick=f"{PYTHON} -m django mainspring worker",
        quick_settings="all default, so 4 threads and 100 coroutines; keeps the whole job with its outcome",
        bulk="enqueue_many",
    ),
    on_redis(
        "dramatiq-redis",
        "dramatiq[redis]",
        quick="dramatiq_queue_prefetch=1000 {bin}/dramatiq peer_app --processes 1 --threads 8",
        quick_settings="8 threads, dramatiq_queue_prefetch 1000 (default 16, a third slower), Results with"
        " store_results; keeps results for 10 minutes",
    ),
    on_redis(
        "huey-redis",
        "huey[redis]",
        quick="{bin}/huey_consumer peer_app.huey -q -w 1 -k thread",
        quick_settings="RedisHuey, 1 thread, quiet (else it writes two lines for each job and is a third slower),"
        " store_none; a task is off the queue before it runs; keeps results until they are read",
        without=NO_COROUTINES,
    ),
    on_redis(
        "celery-redis",
        "celery[redis]",
        # Of what its documentation offers the fastest: 8 threads in one process drain a quarter less.
        quick="{bin}/celery -A peer_app:app worker -c 1 -l ERROR",
        quick_settings="prefork of 1 process for jobs beside its parent, prefetch_multiplier 64; acknowledges a task"
        " before it runs (default); keeps results for a day",
        without=NO_COROUTINES,
    ),
    on_redis(
        "saq",
        "saq[redis]",
        "typing_extensions",  # which saq needs and does not say
        quick="{bin}/saq peer_app.settings",
        quick_settings="50 coroutines (default 10); all jobs are coroutines; keeps jobs with their results for 10"
        " minutes. Its query goes through Django's ORM as a coroutine",
    ),
    on_redis(
        "rq-redis",
        "rq",
        quick="{bin}/rq worker -q --url {redis} --worker-class rq.SimpleWorker",
        quick_settings="SimpleWorker, which does not fork for each job; keeps jobs for 500 s, with each result in a"
        " stream of its own, for which Redis sets aside 4 kB; a coroutine has a loop of its own",
        bulk="enqueue_many",
        share=0.25,
    ),
    on_redis(
        "wakaq",
        "wakaq",
        quick="{bin}/wakaq-worker --app peer_app.wakaq",
        quick_settings="1 process for jobs beside its parent, wait_timeout 0.1 s (default 1 s, half as fast: a child"
        " that tells its parent of more jobs than a pipe holds ends and is started again); keeps no results, so that"
        " its clock stops when the last job has been taken off the queue; a job whose worker dies is lost",
        without=("query", "its jobs run in the thread of its loop, where Django refuses to query"),
    ),
)
STORMED = tuple(system for system in SYSTEMS if system.worker)
QUICK = tuple(system for system in SYSTEMS if system.quick)
STORES = tuple(dict.fromkeys(system.store for system in QUICK))
