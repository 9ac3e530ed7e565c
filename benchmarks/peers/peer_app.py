"""
The same job in the words of each system. Runs in that system's own environment; PEER_SYSTEM says which system it is,
and PEER_JOB what the job does.
"""

import asyncio
import contextlib
import functools
import inspect
import json
import logging
import os
from urllib.parse import urlsplit

from peer_counts import REDIS, RESULTS, all_but, reply, rows, rows_of
from peer_jobs import JOBS, JOBS_IN_LOOP, noop

SYSTEM, JOB = os.environ["PEER_SYSTEM"], os.environ["PEER_JOB"]
work = JOBS[JOB]

if inspect.iscoroutinefunction(work):

    async def run(number, text=""):
        return await work(number, text)

else:

    def run(number, text=""):
        return work(number, text)


def named(*arguments):
    """Return the arguments as keywords, for systems that take no others."""
    return dict(zip(("number", "text"), arguments, strict=False))


# What follows gives `send`, which enqueues a call of `run`, and where speed is measured also `stored`, which returns
# how many of so many jobs have an outcome that can be read, and `send_many`, where the system has a way to enqueue
# many calls, given as tuples of arguments.
if SYSTEM.startswith(("mainspring", "django")) or JOB == "query":
    import django

    django.setup()

if SYSTEM.startswith("mainspring"):
    from mainspring import enqueue_many, task

    run = task(run)
    send = run.enqueue
    send_many = functools.partial(enqueue_many, run)
    if SYSTEM == "mainspring-redis":
        stored = reply("ZCARD", "{mainspring:default}:ended")
    else:
        stored = rows("SELECT COUNT(*) FROM mainspring_finished WHERE state = 'succeeded'")
elif SYSTEM.startswith(("django-tasks-db", "django-ox")):
    from django.tasks import task

    run = task()(run)
    send = run.enqueue
    if SYSTEM.startswith("django-ox"):
        stored = rows("SELECT COUNT(*) FROM django_ox_oxtask WHERE status = 'SUCCESSFUL'")

        def send_many(calls):
            from django_ox.bulk import enqueue_many

            enqueue_many(run, [(arguments, {}) for arguments in calls])
    else:
        stored = rows("SELECT COUNT(*) FROM django_tasks_database_dbtaskresult WHERE status = 'SUCCESSFUL'")
elif SYSTEM == "django-q2":
    from django_q.tasks import async_task

    def send(number):
        async_task("peer_app.run", number)
elif SYSTEM == "huey":
    from huey import SqliteHuey

    huey = SqliteHuey(filename=os.environ["PEER_FILE"], fsync=True)
    send = huey.task()(run)
elif SYSTEM.startswith("huey-sqlite"):
    import sqlite3

    from huey import SqliteHuey

    huey = SqliteHuey(filename=os.environ["PEER_FILE"], fsync="no-fsync" not in SYSTEM, store_none=True)
    send = huey.task()(run)
    stored = rows_of(lambda: sqlite3.connect(os.environ["PEER_FILE"]), "SELECT COUNT(*) FROM kv")
elif SYSTEM == "huey-redis":
    from huey import RedisHuey

    huey = RedisHuey("peer", url=REDIS, store_none=True)
    send = huey.task()(run)
    stored = reply("HLEN", huey.storage.result_key)
elif SYSTEM == "rq":
    from redis import Redis
    from rq import Queue, Retry

    queue = Queue(connection=Redis.from_url(REDIS))

    def send(number):
        queue.enqueue(run, number, retry=Retry(max=100))
elif SYSTEM == "rq-redis":
    from redis import Redis
    from rq import Queue

    queue = Queue(connection=Redis.from_url(REDIS))
    send = functools.partial(queue.enqueue, run)

    def send_many(calls):
        queue.enqueue_many([queue.prepare_data(run, arguments) for arguments in calls])

    stored = reply("ZCARD", queue.finished_job_registry.key)
elif SYSTEM == "dramatiq":
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker

    dramatiq.set_broker(RedisBroker(url=REDIS, heartbeat_timeout=5000, maintenance_chance=100_000))
    send = dramatiq.actor(run).send
elif SYSTEM == "dramatiq-redis":
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker
    from dramatiq.results import Results
    from dramatiq.results.backends import RedisBackend

    broker = RedisBroker(url=REDIS)
    if inspect.iscoroutinefunction(run):
        broker.add_middleware(dramatiq.middleware.AsyncIO())
    broker.add_middleware(Results(backend=RedisBackend(url=RESULTS), store_results=True))
    dramatiq.set_broker(broker)
    send = dramatiq.actor(run).send
    stored = reply("DBSIZE", url=RESULTS)
elif SYSTEM == "celery":
    from celery import Celery

    app = Celery("storm", broker=REDIS)
    app.conf.update(
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
        broker_transport_options={
            "visibility_timeout": 10,
            "unacked_restore_interval": 2,
            "unacked_restore_throttle": 1,
            "unacked_mutex_expire": 10,
        },
    )
    send = app.task(run).delay
elif SYSTEM == "celery-redis":
    from celery import Celery

    app = Celery("speed", broker=REDIS, backend=RESULTS)
    app.conf.worker_prefetch_multiplier = 64
    send = app.task(run).delay
    stored = reply("DBSIZE", url=RESULTS)
elif SYSTEM == "saq":
    from saq import Queue

    async def run_in_loop(context, number, text=""):
        return await JOBS_IN_LOOP[JOB](number, text)

    loop = asyncio.new_event_loop()
    queue = Queue.from_url(REDIS)
    settings = {"queue": queue, "functions": [("run", run_in_loop)], "concurrency": 50}
    stored = all_but("ZCARD", "saq:default:incomplete")

    def send(*arguments):
        loop.run_until_complete(queue.enqueue("run", **named(*arguments)))
elif SYSTEM == "wakaq":
    from wakaq import WakaQ

    server = urlsplit(REDIS)
    wakaq = WakaQ(
        queues=[(0, "default")],
        host=server.hostname,
        port=server.port,
        concurrency=1,
        wait_timeout=0.1,  # so often the parent reads what its child tells of each job
        worker_log_level=logging.ERROR,
    )
    send = wakaq.task(run).delay
    stored = all_but("LLEN", *wakaq.broker_keys)
elif SYSTEM == "procrastinate":
    import procrastinate

    app = procrastinate.App(
        connector=procrastinate.PsycopgConnector(conninfo=os.environ["PEER_POSTGRESQL"]),
        worker_defaults={"concurrency": 2, "update_heartbeat_interval": 1, "stalled_worker_timeout": 5},
    )
    task = app.task(name="run")(run)

    @app.periodic(cron="*/5 * * * * *")
    @app.task(queueing_lock="retry_stalled")
    async def retry_stalled(timestamp):
        """The recipe of procrastinate's documentation."""
        for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=5):
            await app.job_manager.retry_job(job)

    def send(number):
        task.defer(number=number)
elif SYSTEM == "procrastinate-postgresql":
    import procrastinate
    import psycopg

    POSTGRESQL = os.environ["PEER_POSTGRESQL"]
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=POSTGRESQL))
    task = app.task(name="run")(run)
    stored = rows_of(
        lambda: psycopg.connect(POSTGRESQL, autocommit=True),
        "SELECT COUNT(*) FROM procrastinate_jobs WHERE status = 'succeeded'",
    )

    def send(*arguments):
        task.defer(**named(*arguments))

    def send_many(calls):
        task.batch_defer(*(named(*arguments) for arguments in calls))
elif SYSTEM == "pgqueuer":
    import asyncpg
    from pgqueuer import PgQueuer
    from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
    from pgqueuer.queries import Queries

    POSTGRESQL = os.environ["PEER_POSTGRESQL"]
    loop = asyncio.new_event_loop()

    @functools.cache
    def connection():
        return loop.run_until_complete(asyncpg.connect(POSTGRESQL))

    def send_many(calls):
        payloads = [json.dumps(arguments).encode() for arguments in calls]
        queries = Queries(AsyncpgDriver(connection()))
        loop.run_until_complete(queries.enqueue(["run"] * len(calls), payloads, [0] * len(calls)))

    def send(*arguments):
        send_many([arguments])

    def counted(rows):
        return loop.run_until_complete(connection().fetchval(f"SELECT COUNT(*) FROM {rows}"))

    def stored(jobs):
        # Its log has three rows for each job, so it is not asked before it must.
        waiting = counted("pgqueuer")
        return jobs - waiting if waiting else counted("pgqueuer_log WHERE status = 'successful'")

    @contextlib.asynccontextmanager
    async def worker():
        async with asyncpg.create_pool(POSTGRESQL, min_size=2) as pool:

            async def select(number, text):
                # What the ORM asks in `query`, without the ORM, which has coroutines wait for threads.
                noop(number, text)
                await pool.fetchval("SELECT 1 AS a FROM auth_user WHERE id = $1 LIMIT 1", 1)

            work = select if JOB == "query" else JOBS_IN_LOOP[JOB]
            pgqueuer = PgQueuer(AsyncpgPoolDriver(pool))

            @pgqueuer.entrypoint("run")
            async def run_in_loop(job):
                number, *text = json.loads(job.payload)
                await work(number, *text or [""])

            yield pgqueuer
