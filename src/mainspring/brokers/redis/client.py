"""The way to one Redis, Valkey or Cluster: connections, and scripts that a server may have forgotten."""

import socket
import threading
import weakref
from typing import Any
from urllib.parse import urlsplit

from redis import Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError, NoScriptError, RedisError
from redis.retry import Retry

from mainspring import forks
from mainspring.brokers.redis.errors import translated
from mainspring.brokers.redis.keys import Keys
from mainspring.brokers.redis.scripts import Script

CONNECT_TIMEOUT = 5.0  # seconds
ANSWER_TIMEOUT = 10.0  # a server that writes its data to the disk can be silent for seconds
# A listener asks for nothing, so that only these probes tell when its line has been cut without a word.
_PROBES = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
_KEEP_ALIVE = {
    "socket_keepalive": True,
    "socket_keepalive_options": {
        getattr(socket, name): value for name, value in _PROBES.items() if hasattr(socket, name)
    },
}


class Client:
    """
    Runs scripts and commands on the server of a URL; for any number of threads, each with a connection meanwhile.

    Every call raises BrokerUnavailable or BrokerRefused. None is repeated by itself: only its caller knows whether
    it may happen twice.
    """

    def __init__(self, alias: str, url: str, keys: Keys) -> None:
        self.place = f"TASKS[{alias!r}] OPTIONS['url'] ({_shown(url)})"
        self.keys = keys
        self._url = url
        self._settings: dict[str, Any] = {
            "socket_timeout": ANSWER_TIMEOUT,
            "protocol": 2,
            "retry": Retry(NoBackoff(), 0),
            "redis_connect_func": _on_connect,
        }
        if not url.startswith("unix://"):
            self._settings |= {"socket_connect_timeout": CONNECT_TIMEOUT} | _KEEP_ALIVE
        self._connecting = threading.Lock()
        self._redis: Redis | RedisCluster | None = None

    def run(self, script: Script, *values: Any) -> Any:
        """Return what a script returns, in one round trip unless the server must be given the script first."""
        with translated(self.place):
            redis = self._connected()
            try:
                return redis.evalsha(script.digest, len(self.keys), *self.keys, *values)
            except NoScriptError:
                return redis.eval(script.source.decode(), len(self.keys), *self.keys, *values)

    def command(self, *words: Any) -> Any:
        """Return what one command returns."""
        with translated(self.place):
            return self._connected().execute_command(*words)  # type: ignore[no-untyped-call]

    def facts(self) -> dict[str, str]:
        """Return what the server tells of itself; of a Cluster, the one that holds our keys."""
        with translated(self.place):
            return {name: str(value) for name, value in self._server().info("everything").items()}

    def new_connection(self) -> Any:
        """Return a connection of one's own, connected, to a server that hears what scripts publish."""
        with translated(self.place):
            pool = self._server().connection_pool
            connection: Any = pool.connection_class(**pool.connection_kwargs)
            connection.connect()
            return connection

    def limit_waits(self, seconds: float) -> None:
        """Wait no longer than this for a connection or an answer."""
        self._settings |= {name: seconds for name in self._settings if name.endswith("timeout")}
        self.close()

    def close(self) -> None:
        """Close every connection; the next call opens new ones."""
        redis, self._redis = self._redis, None
        if redis is not None:
            redis.close()

    def _server(self) -> Redis:
        """Return a client of the one server that holds our keys."""
        redis = self._connected()
        if isinstance(redis, RedisCluster):
            node = redis.get_node_from_key(self.keys.jobs)  # type: ignore[no-untyped-call]
            server: Redis = redis.get_redis_connection(node)
            return server
        return redis

    def _connected(self) -> Redis | RedisCluster:
        redis = self._redis
        if redis is None:
            with self._connecting:
                redis = self._redis = self._redis or self._connect()
                weakref.finalize(self, redis.close)  # or the sockets of a forgotten client would be closed by chance
        return redis

    def _connect(self) -> Redis | RedisCluster:
        redis = Redis.from_url(self._url, **self._settings)
        try:
            is_cluster = redis.info("cluster").get("cluster_enabled") == 1
        except NoPermissionError:
            is_cluster = False
        except RedisError:
            redis.close()
            raise
        if not is_cluster:
            return redis
        redis.close()
        return RedisCluster.from_url(self._url, **self._settings | {"redis_connect_func": _keep_to_this_process})


def _on_connect(connection: Any) -> None:
    connection.on_connect()
    _keep_to_this_process(connection)


def _keep_to_this_process(connection: Any) -> None:
    forks.note(connection._sock)


def _shown(url: str) -> str:
    """Return a URL without its password."""
    parts = urlsplit(url)
    user = f"{parts.username}@" if parts.username else ""
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{user}{parts.hostname or ''}{port}{parts.path}"
