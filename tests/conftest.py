import pytest
from django.conf import settings
from django.db import connections

from tests import servers


def pytest_report_header():
    return f"store: {settings.STORE}, database: {settings.DATABASE}" + (" (missing)" if settings.MISSING else "")


def pytest_collection_modifyitems(items):
    if settings.MISSING:
        for item in items:
            item.add_marker(pytest.mark.skip(reason=settings.MISSING))


def pytest_terminal_summary(terminalreporter):
    if settings.MISSING:
        terminalreporter.write_line(f"!!! ALL TESTS SKIPPED. {settings.MISSING}", red=True, bold=True)
    for reason in sorted(reasons_to_shout(terminalreporter.getreports("skipped"))):
        terminalreporter.write_line(reason, red=True, bold=True)


def reasons_to_shout(reports):
    """What was skipped because something is missing that can be installed: those reasons begin with three marks."""
    reasons = {report.longrepr[2].removeprefix("Skipped: ") for report in reports}
    return {reason for reason in reasons if reason.startswith("!!!")}


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup):
    """Child processes with these settings use the databases that the tests have made."""
    servers.share(connections)


@pytest.fixture(autouse=settings.REDIS_URL is not None)
def redis():
    """A client of the Redis under test, which is empty before each test, as a database is."""
    with servers.redis_client(settings.REDIS_URL) as client:
        client.flushall()
        yield client


@pytest.fixture
def redis_broker(redis):
    """A broker on the Redis under test, whose clock stands still."""
    from tests.contract.brokers import new_broker
    from tests.contract.clocks import FrozenClock

    broker = new_broker(FrozenClock())
    yield broker
    broker.close()


@pytest.fixture
def own_server():
    """Start a Redis of one's own, with lines of its configuration: `own_server(maxmemory="2mb")`."""
    if settings.REDIS_URL is None:
        pytest.skip("needs Redis")
    started = []

    def start(**options):
        started.append(servers.Redis(**options))
        started[-1].start()
        return started[-1]

    yield start
    for server in started:
        server.kill()  # a replica that has lost its primary takes 30 s to stop


@pytest.fixture
def server():
    """The server of the store under test, to be stopped, restarted or killed; it runs again after the test."""
    server = servers.running(settings.STORE)
    if server is None:
        pytest.skip("needs a database server that this process has started")
    yield server
    if not server.is_running():
        server.start()
