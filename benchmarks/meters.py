"""What it costs a store to serve: the processor time of its server, its log, syncs of the disk, round trips."""

import gc
import glob
import json
import os
import time
from types import SimpleNamespace
from typing import NamedTuple
from urllib.parse import urlsplit

import psutil
from stores import ROOT  # noqa: F401 makes the tests' servers importable

from tests.processes.proxy import Proxy


class Spent(NamedTuple):
    """What a stretch of work took: microseconds, bytes, and numbers; None where the store does not tell."""

    client: float
    server: float
    wall: float
    log: float | None
    syncs: float | None
    transactions: float | None

    def per(self, count):
        return Spent(*(None if value is None else value / count for value in self))


class Meter:
    """Reads what this process and the server of the store have spent so far; `owner` is the server's parent."""

    def __init__(self, owner):
        programs = [child for child in psutil.Process(owner).children() if child.pid != os.getpid()]
        self.servers = [child for child in programs if not child.name().startswith("python")]
        self._tell = TELL.get(_vendor(), _sqlite)

    def begin(self):
        gc.collect()  # what was left by earlier measurements is not to be cleared up in this one
        told = self._tell()
        # To look at all processes takes time, which belongs to neither side.
        server = cpu(self.servers)
        self._before = (time.process_time() * 1e6, server, time.perf_counter() * 1e6, *told)

    def end(self, before_asking=None):
        """
        Return what was spent since `begin`.

        What `before_asking` does is not counted, but lets others tell the server what they have done.
        """
        client, wall = time.process_time() * 1e6, time.perf_counter() * 1e6
        server = cpu(self.servers)
        if before_asking is not None:
            before_asking()
        after = (client, server, wall, *self._tell())
        return Spent(*(None if new is None else new - old for new, old in zip(after, self._before, strict=True)))

    def of(self, work, *arguments):
        """Return what a call spent, and what it returned."""
        self.begin()
        done = work(*arguments)
        return self.end(), done


def cpu(roots):
    """Return the microseconds of processor time that these processes have taken, with all that they have started."""
    while True:
        ended = _of_ended(roots)
        total = ended + sum(_cpu_of(process) for root in roots for process in (root, *root.children(recursive=True)))
        if _of_ended(roots) == ended:  # or one that has just ended could be in neither sum
            return total


def _of_ended(roots):
    return sum((times.children_user + times.children_system) * 1e6 for times in (root.cpu_times() for root in roots))


def _cpu_of(process):
    # psutil counts in hundredths of a second, the scheduler in nanoseconds.
    try:
        files = glob.glob(f"/proc/{process.pid}/task/*/schedstat")
        if files:
            return sum(int(open(file).read().split()[0]) for file in files) / 1000
        times = process.cpu_times()
        return (times.user + times.system) * 1e6
    except (psutil.NoSuchProcess, OSError):
        return 0.0


def _vendor():
    if os.environ["BENCHMARK_REDIS"]:
        return "redis"
    return json.loads(os.environ["BENCHMARK_DATABASE"])["ENGINE"].rpartition(".")[2]


def _row(statement):
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def _postgresql():
    # Without the first a session would keep its numbers to itself for up to a second.
    _row("SELECT pg_stat_force_next_flush()")
    ((log, syncs, transactions),) = _row(
        "SELECT pg_current_wal_insert_lsn() - '0/0',"
        " (SELECT sum(fsyncs) FROM pg_stat_io WHERE object = 'wal'),"
        " (SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database())"
    )
    return float(log), float(syncs), float(transactions)


def _mysql():
    told = dict(_row("SHOW GLOBAL STATUS WHERE variable_name IN ('Innodb_os_log_written', 'Com_commit')"))
    return float(told["Innodb_os_log_written"]), None, float(told["Com_commit"])


def _redis():
    import redis

    client = redis.Redis.from_url(os.environ["BENCHMARK_REDIS"], protocol=2)
    log = client.info("persistence")["aof_current_size"]
    scripts = client.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]
    client.close()
    return float(log), None, float(scripts)


def _sqlite():
    with open("/proc/self/io") as file:
        written = dict(line.split(": ") for line in file)["wchar"]
    return float(written), None, None


TELL = {"postgresql": _postgresql, "mysql": _mysql, "redis": _redis}


class Turns(Proxy):
    """Stands between this process and its server, and counts how often a client speaks after the server has."""

    def __init__(self):
        super().__init__(SimpleNamespace(port=_port(), vendor=_vendor()))
        self.count = 0

    def lead_here(self):
        """Have Django's settings, which are not loaded yet, lead here."""
        port = self._door.getsockname()[1]
        if os.environ["BENCHMARK_REDIS"]:
            os.environ["BENCHMARK_REDIS"] = f"redis://127.0.0.1:{port}/0"
        else:
            database = json.loads(os.environ["BENCHMARK_DATABASE"])
            os.environ["BENCHMARK_DATABASE"] = json.dumps(database | {"PORT": str(port)})

    def asked(self, link, said):
        if not getattr(link, "is_asking", False):
            self.count += 1
        link.is_asking = True
        return said

    def answered(self, link, said):
        link.is_asking = False
        return said


def _port():
    if os.environ["BENCHMARK_REDIS"]:
        return urlsplit(os.environ["BENCHMARK_REDIS"]).port
    return int(json.loads(os.environ["BENCHMARK_DATABASE"])["PORT"])
