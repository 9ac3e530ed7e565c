"""A wake-up that hits another statement than the sleep that it was meant for."""

import pytest
from django.db import connection

from mainspring.job import State
from tests.contract import jobs


@pytest.mark.skipif(connection.vendor != "mysql", reason="only MariaDB and MySQL wake by cutting a query short")
def test_a_wake_up_that_hits_the_next_look_does_no_harm(database_broker, monkeypatch):
    """The look is repeated; whoever waits learns nothing of it."""
    (job,) = jobs.finished(database_broker)
    running = job._replace(state=State.RUNNING)
    real, looks = database_broker._store.get, iter([running, "kill"])

    def get(connection, id):
        look = next(looks, None)
        if look == "kill":
            with connection.cursor() as cursor:
                cursor.execute("KILL QUERY CONNECTION_ID()")
        return real(connection, id) if look is None else look

    monkeypatch.setattr(database_broker._store, "get", get)
    monkeypatch.setattr(database_broker, "get", lambda id: running)

    assert database_broker.wait_for(job.id, 30) == job
