"""The connections of a thread that runs tasks: which of them are looked after between two jobs."""

import pytest
from django.db import connection, connections

from mainspring.brokers.database.listeners import own_connection
from mainspring.worker.connections import _used_here, tidy_connections
from tests.contract.threads import elsewhere


@pytest.mark.django_db(transaction=True)
def test_a_listeners_own_connection_is_not_the_threads(broker):
    """A task that waits for a result opens one; Django's own must still be tidied afterwards."""

    def run():
        connection.ensure_connection()
        own = own_connection(connections["default"])
        own.connection.close()
        looked_after = list(_used_here().values())
        connection.set_autocommit(False)
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        connection.in_atomic_block = True  # as a task leaves it that breaks off in the middle
        tidy_connections()
        return looked_after == [connections["default"]], connection.in_atomic_block

    assert elsewhere(broker, run) == (True, False)
