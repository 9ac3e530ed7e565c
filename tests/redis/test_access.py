"""Users with no more rights than the docs ask for, wrong passwords, and TLS."""

import contextlib
import re
import ssl
import subprocess
from pathlib import Path

import pytest

from mainspring.brokers.base import WorkerInfo
from mainspring.brokers.leases import Lease
from mainspring.brokers.redis.broker import PUSHED_AT_ONCE
from mainspring.exceptions import BrokerUnavailable
from tests.contract import jobs
from tests.contract.test_listening import hears
from tests.processes.proxy import Proxy

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "redis.md"
NAMES = "{mainspring:default}:*"


@pytest.fixture
def user(redis):
    """Make a user with these rights; return the URL with its name."""
    from django.conf import settings

    def user(*rights):
        redis.execute_command(
            "ACL SETUSER", "shop", "reset", "resetchannels", "on", ">geheim", f"~{NAMES}", f"&{NAMES}", *rights
        )
        return settings.REDIS_URL.replace("redis://", "redis://shop:geheim@")

    yield user
    redis.execute_command("ACL DELUSER", "shop")


def documented_rights():
    [line] = re.findall(r"^\+@.*$", PAGE.read_text(), re.MULTILINE)
    return line.split()


def use(broker):
    """Do everything that sites and workers do."""
    with contextlib.closing(broker.listen()) as listener:
        (job,) = jobs.claimed(broker)
        hears(listener)
    broker.beat([WorkerInfo("w1")])
    broker.now()
    assert broker.strangers() == set()
    assert broker.held_by(["w1"], 1) == [job]
    assert broker.wait_for(job.id, 0.05) == job
    assert broker.settle([jobs.succeeded(broker, job)]) == {job.id}
    broker.cancel(jobs.ids(jobs.pushed(broker)))
    broker.promote(1)
    broker.answer(broker.ask("w1", "stack", "x"), "text")
    broker.questions(["w1"])
    broker.counts(0)
    broker.adopt("here")
    lease = Lease("import:7", broker.take_lease("import:7", 1))
    assert broker.renew_leases([lease]) == {lease}
    broker.drop_lease(lease)
    broker.wake()
    broker.leave(["w1"])
    broker.workers()
    broker.check()
    many = jobs.pushed(broker, 2 * PUSHED_AT_ONCE)
    assert broker.delete(jobs.ids(broker.cancel(jobs.ids(many)))) == len(many)
    assert len(broker.search()) == broker.prune(["succeeded", "cancelled"], broker.clock.tick(), 10) == 2


def test_the_documented_rights_are_enough(user, broker_on):
    """For all that sites and workers do, and for the look at the server's settings."""
    broker = broker_on(user(*documented_rights()))

    use(broker)
    broker.risks()


def test_without_info_it_works_too(user, broker_on):
    """Only its settings cannot be looked at."""
    broker = broker_on(user(*documented_rights(), "-info"))

    use(broker)
    with pytest.raises(BrokerUnavailable, match="its user may not do this"):
        broker.risks()


def test_a_right_that_is_missing_is_named_with_the_page(user, broker_on):
    broker = broker_on(user(*documented_rights(), "-@hash"))

    with pytest.raises(BrokerUnavailable, match=r"its user may not do this; docs/reference/redis\.md"):
        jobs.pushed(broker)


def test_without_channels_jobs_are_stored_whole_and_workers_say_so(user, broker_on, redis):
    """Redis does not undo what a script has done before it fails."""
    url = user(*documented_rights())
    redis.execute_command("ACL SETUSER", "shop", "resetchannels")
    broker = broker_on(url)

    first, second = jobs.claimed(broker, 2)
    assert broker.settle([jobs.retried(broker, first), jobs.succeeded(broker, second)]) == {first.id, second.id}
    with pytest.raises(BrokerUnavailable, match="its user may not do this"):
        broker.listen()
    with pytest.raises(BrokerUnavailable, match="its user may not do this"):
        broker.check()


@pytest.mark.parametrize("right", ["multi", "exec"])
def test_without_transactions_nothing_of_a_push_of_many_is_stored(user, broker_on, right):
    """A check says so, not only the first enqueue of very many."""
    broker = broker_on(user(*documented_rights(), f"-{right}"))

    with pytest.raises(BrokerUnavailable, match="its user may not do this"):
        broker.check()
    with pytest.raises(BrokerUnavailable, match="its user may not do this"):
        jobs.pushed(broker, 2 * PUSHED_AT_ONCE)
    assert broker.search() == []


@pytest.mark.parametrize("credentials", ["shop:wrong@", "nobody:geheim@"])
def test_a_wrong_password_is_named_and_not_shown(user, broker_on, credentials):
    url = user("+@all").replace("shop:geheim@", credentials)

    with pytest.raises(BrokerUnavailable, match="it wants another user or password") as raised:
        broker_on(url).check()
    assert "wrong" not in str(raised.value)
    assert "geheim" not in str(raised.value).replace("redis://user:password", "")


class Tls(Proxy):
    """Speaks TLS with clients, and plainly with the server."""

    def __init__(self, server, certificate):
        super().__init__(server)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self._door = context.wrap_socket(self._door, server_side=True)


@pytest.fixture
def certificate(tmp_path):
    """A certificate for localhost that nobody has signed but itself, with its key."""
    key, certificate, both = (tmp_path / name for name in ("key", "certificate", "both"))
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("!!! TLS IS NOT TESTED: openssl is not installed")
    both.write_text(key.read_text() + certificate.read_text())
    return both


def test_tls(server, certificate, broker_on):
    """The certificate is checked, against the authorities that the URL names."""
    with Tls(server, certificate) as tls:
        port = tls._door.getsockname()[1]
        use(broker_on(f"rediss://localhost:{port}/0?ssl_ca_certs={certificate}"))
        with pytest.raises(BrokerUnavailable, match="certificate verify failed"):
            broker_on(f"rediss://localhost:{port}/0").check()
