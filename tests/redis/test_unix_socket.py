"""A server on the same machine, by a socket of the file system."""

from mainspring.brokers.base import WorkerInfo
from tests.contract import jobs


def test_it_is_a_place_like_any_other(own_server, broker_on, tmp_path):
    """For jobs and for listeners, also with short waits."""
    path = tmp_path / "redis.sock"
    own_server(unixsocket=path)
    broker = broker_on(f"unix://{path}")
    broker.limit_waits(1.0)
    listener = broker.listen()

    jobs.finished(broker)
    broker.beat([WorkerInfo("w1")])

    assert listener.has_news()
    listener.close()
