"""The way to the server: what a URL may say, waits that are limited, and threads that do not wait for each other."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from mainspring.brokers.redis.broker import PUSHED_AT_ONCE
from mainspring.brokers.redis.client import settings_of
from mainspring.exceptions import BrokerUnavailable
from tests.contract import jobs
from tests.contract.threads import until
from tests.processes.proxy import Proxy

FOREVER = float("inf")


class Silent(Proxy):
    """Takes what is said and never answers."""

    def answered(self, link, said):
        self.is_over.wait()
        return None

    def __init__(self, server):
        super().__init__(server)
        self.is_over = threading.Event()

    def __exit__(self, *exc_info):
        self.is_over.set()
        super().__exit__(*exc_info)

    def url(self, query=""):
        return f"redis://127.0.0.1:{self._door.getsockname()[1]}/0{query}"


@pytest.fixture
def silent(server):
    with Silent(server) as silent:
        yield silent


def test_what_a_url_may_say():
    """Its own waits, what TLS needs, and all that this broker does not depend on."""
    url, settings = settings_of(
        "rediss://u:p%40@h:7/3?socket_timeout=2&protocol=3&decode_responses=1&ssl_ca_certs=/a", FOREVER
    )

    assert url == "rediss://u:p%40@h:7/3?ssl_ca_certs=%2Fa"
    assert (settings["socket_timeout"], settings["protocol"], settings["decode_responses"]) == (2.0, 2, False)


@pytest.mark.parametrize("seconds", [0.5, 5.0])
def test_waits_are_limited_whatever_the_url_says(silent, broker_on, seconds):
    """By whichever is shorter."""
    broker = broker_on(silent.url("?socket_timeout=1"))
    broker.limit_waits(seconds)
    began = time.monotonic()

    with pytest.raises(BrokerUnavailable, match=r"[Tt]imeout"):
        broker.check()
    assert time.monotonic() - began < 3 * min(seconds, 1.0) + 1.0


def test_threads_wait_for_a_silent_server_beside_each_other(silent, broker_on):
    """Not one after the other."""
    broker = broker_on(silent.url("?socket_timeout=1"))
    began = time.monotonic()

    def fail():
        with pytest.raises(BrokerUnavailable):
            broker.check()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: fail(), range(8)))
    assert time.monotonic() - began < 4.0


@pytest.mark.parametrize("url", ["redis://127.0.0.1:6379/0?socket_timeout=abc", "redis://127.0.0.1/0?nonsense=1"])
def test_a_url_that_cannot_be_used_is_named(broker_on, url):
    with pytest.raises(BrokerUnavailable, match="the URL cannot be used"):
        broker_on(url).check()


def test_a_hundred_threads_at_once(broker):
    """Each has a connection of its own meanwhile."""
    pushed = jobs.pushed(broker, 150)
    start = threading.Barrier(150)

    def get(job):
        start.wait()
        return broker.get(job.id)

    with ThreadPoolExecutor(150) as pool:
        assert list(pool.map(get, pushed)) == pushed


def test_a_replica_is_named_before_a_worker_begins(own_server, broker_on):
    """It would answer every question and take nothing."""
    primary = own_server()
    replica = own_server(replicaof=f"127.0.0.1 {primary.port}")
    with replica.connect() as client:
        for _ in until(lambda: client.info("replication")["master_link_status"] == "up"):
            pass

    with pytest.raises(BrokerUnavailable, match="it is a replica"):
        broker_on(replica.url).check()


class Renamed(Proxy):
    """An address that leads new connections to another server than those that are open."""

    @property
    def url(self):
        return f"redis://127.0.0.1:{self._door.getsockname()[1]}/0"

    def lead_to(self, server):
        self._server_port = server.port


@pytest.mark.parametrize("number", [1, 2 * PUSHED_AT_ONCE])
def test_after_a_failover_the_address_is_asked_again(own_server, broker_on, number):
    """
    The server that was the primary lives on as a replica, and keeps the connections that are open.

    One write fails there; what has been connected besides, for other threads, is not asked any more.
    """
    old, new = own_server(), own_server()
    with Renamed(old) as address:
        broker = broker_on(address.url)
        connected_at_once(broker, 4)
        jobs.pushed(broker, number)
        address.lead_to(new)
        with old.connect() as client:
            client.replicaof("127.0.0.1", new.port)

        with pytest.raises(BrokerUnavailable):
            jobs.pushed(broker, number)
        connected_at_once(broker, 4)
        many = jobs.pushed(broker, number)
        assert jobs.ids(broker.search(limit=10_000)) == jobs.ids(many)
        broker.close()


def connected_at_once(broker, number):
    """Make a broker use so many connections at the same time, each for a read and a write."""
    broker.check()
    connections = broker._client._connections
    taken = [connections.take() for _ in range(number)]
    for connection in taken:
        connection.send_command("SET", "connected", "1")
        assert connection.read_response() == b"OK"
        connections.put_back(connection)


def test_without_hiredis_the_client_writes_commands_itself(broker, monkeypatch):
    """The extra brings it, but it is only faster."""
    monkeypatch.setattr("mainspring.brokers.redis.client.pack_command", None)
    (job,) = jobs.claimed(broker)

    assert broker.settle([jobs.succeeded(broker, job)]) == {job.id}
