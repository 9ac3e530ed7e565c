"""The way to one Redis, Valkey or Cluster: connections, and scripts that a server may have forgotten."""

import math
import socket
import threading
import weakref
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from redis import Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.exceptions import (
    ConnectionError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    ReadOnlyError,
    ResponseError,
    TimeoutError,
)
from redis.retry import Retry

try:
    from hiredis import pack_command
except ImportError:
    pack_command = None  # type: ignore[assignment]

from mainspring import forks
from mainspring.brokers.redis.connections import Connections
from mainspring.brokers.redis.errors import translated
from mainspring.brokers.redis.keys import Keys
from mainspring.brokers.redis.scripts import Script
from mainspring.exceptions import BrokerUnavailable

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
        self._longest_wait = math.inf
        self._connecting = threading.Lock()
        self._redis: Redis | RedisCluster | None = None
        self._connections: Connections | None = None

    def run(self, script: Script, *values: Any) -> Any:
        """Return what a script returns, in one round trip unless the server must be given the script first."""
        with translated(self.place):
            redis = self._connected()
            arguments = (len(self.keys), *self.keys, *values)
            if isinstance(redis, Redis):
                return _run(self._connections_of(redis), script, arguments)
            try:
                return redis.evalsha(script.digest, *arguments)
            except NoScriptError:
                return redis.eval(script.source.decode(), *arguments)

    def run_together(self, calls: Sequence[tuple[Script, Sequence[Any]]]) -> list[Any]:
        """Return what scripts return that run one behind the other as one transaction, nobody else between them."""
        # By their texts: one that the server has forgotten would fail after others have run.
        commands = [("EVAL", script.source, len(self.keys), *self.keys, *values) for script, values in calls]
        with translated(self.place):
            redis = self._connected()
            try:
                return _transaction(self._connections_of(self._server()), commands)
            except (MovedError, ConnectionError, TimeoutError):
                if isinstance(redis, RedisCluster):
                    redis.nodes_manager.initialize()  # another server may hold the keys by now
                raise

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
        """Wait no longer than this for a connection or an answer, whatever the URL says."""
        self._longest_wait = seconds
        self.close()

    def close(self) -> None:
        """Close every connection; the next call opens new ones."""
        redis, self._redis, self._connections = self._redis, None, None
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
        if redis is not None:
            return redis
        new = self._connect()  # outside of the lock, or threads would wait for a silent server one after the other
        with self._connecting:
            redis = self._redis = self._redis or new
        if redis is new:
            weakref.finalize(self, new.close)  # or the sockets of a forgotten client would be closed by chance
        else:
            new.close()
        return redis

    def _connections_of(self, redis: Redis) -> Connections:
        connections = self._connections
        if connections is None or connections.pool is not redis.connection_pool:
            if connections is not None:
                connections.close_idle()  # of a Cluster, whose keys another server holds by now
            connections = self._connections = Connections(redis.connection_pool)
        return connections

    def _connect(self) -> Redis | RedisCluster:
        try:
            return _connect(*settings_of(self._url, self._longest_wait))
        except (TypeError, ValueError) as error:
            raise BrokerUnavailable(f"{self.place}: the URL cannot be used: {error}") from error


def _run(connections: Connections, script: Script, arguments: tuple[Any, ...]) -> Any:
    # Redis.evalsha does the same in three times the time.
    connection = connections.take()
    try:
        return _answer(connection, script, arguments)
    except BaseException as error:
        _leave(connection, connections, error)
        raise
    finally:
        connections.put_back(connection)


def _leave(connection: Any, connections: Connections, error: BaseException) -> None:
    """Close what must not be used again after an error."""
    if isinstance(error, ReadOnlyError) or "READONLY" in str(error):
        connections.close_idle()  # by now the address may lead to the server that has taken over
        connection.disconnect()
    elif not isinstance(error, ResponseError):
        connection.disconnect()  # the answer may still come, to whoever has the connection then


def _answer(connection: Any, script: Script, arguments: tuple[Any, ...]) -> Any:
    try:
        _send(connection, "EVALSHA", script.digest, *arguments)
        return connection.read_response()
    except NoScriptError:
        _send(connection, "EVAL", script.source, *arguments)
        return connection.read_response()


def _transaction(connections: Connections, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Return the answers of commands that are one transaction; raise the first error."""
    connection = connections.take()
    try:
        # By itself: were it refused with the others behind it, each of those would be executed.
        _send(connection, "MULTI")
        connection.read_response()
        for command in commands:
            _send(connection, *command)
        _send(connection, "EXEC")
        refusals = [error for _ in commands if (error := _refusal_of(connection))]
        if refusals:
            raise refusals[0]
        answers = connection.read_response()
        if errors := [answer for answer in answers if isinstance(answer, Exception)]:
            raise errors[0]
        return list(answers)
    except BaseException as error:
        _leave(connection, connections, error)
        connection.disconnect()  # an answer may still come after any error
        raise
    finally:
        connections.put_back(connection)


def _refusal_of(connection: Any) -> ResponseError | None:
    """Read an answer, and return it if it is an error."""
    try:
        connection.read_response()
    except ResponseError as error:
        return error
    return None


def _send(connection: Any, *words: Any) -> None:
    if pack_command is None:
        connection.send_command(*words)
    else:
        connection.send_packed_command([pack_command(words)])  # redis-py does the same in four times the time


def _connect(url: str, settings: dict[str, Any]) -> Redis | RedisCluster:
    redis = Redis.from_url(url, **settings)
    try:
        is_cluster = redis.info("cluster").get("cluster_enabled") == 1
    except NoPermissionError:
        is_cluster = False
    except BaseException:
        redis.close()
        raise
    if not is_cluster:
        return redis
    redis.close()
    cluster = RedisCluster.from_url(url, **settings | {"redis_connect_func": _keep_to_this_process})
    # redis-py 5 would repeat what fails, whatever `retry` says.
    cluster.cluster_error_retry_attempts = 0  # type: ignore[attr-defined]
    return cluster


def settings_of(url: str, longest_wait: float) -> tuple[str, dict[str, Any]]:
    """Return a URL without what it must not decide, and the settings of connections; ValueError if it is none."""
    given = parse_url(url)  # type: ignore[no-untyped-call]
    settings: dict[str, Any] = {
        "socket_timeout": min(given.get("socket_timeout", ANSWER_TIMEOUT), longest_wait),
        "protocol": 2,
        "decode_responses": False,
        "max_connections": 2**31 - 1,
        "retry": Retry(NoBackoff(), 0),
        "redis_connect_func": _on_connect,
    }
    if "path" not in given:
        connect_timeout = min(given.get("socket_connect_timeout", CONNECT_TIMEOUT), longest_wait)
        settings |= {"socket_connect_timeout": connect_timeout} | _KEEP_ALIVE
    address, _, query = url.partition("?")
    rest = urlencode([(name, value) for name, value in parse_qsl(query) if name not in settings])
    return f"{address}?{rest}" if rest else address, settings


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
