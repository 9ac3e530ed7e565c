"""How a supervisor keeps its database from holding it up, as far as settings go."""

import pytest

from mainspring.brokers.database.mysql import MySQL
from mainspring.brokers.database.postgresql import PostgreSQL


class Connection:
    """A connection of which nothing counts but its settings."""

    alias = "nobody's"

    def __init__(self, **options):
        self.settings_dict = {"OPTIONS": options}
        self.is_closed = False

    def close(self):
        self.is_closed = True


@pytest.mark.parametrize("store", [PostgreSQL, MySQL])
@pytest.mark.parametrize(
    ("given", "used"),
    [({}, 2), ({"connect_timeout": 1}, 1), ({"connect_timeout": "30"}, 2), ({"connect_timeout": 0}, 2)],
)
def test_nobody_waits_longer_for_a_server_than_asked(store, given, used):
    """Whatever the project has set for its own work; 0 would be for ever."""
    connection = Connection(**given, pool=True)
    store().limit_waits(connection, 1.5)

    assert connection.settings_dict["OPTIONS"] == {"connect_timeout": used}
    assert connection.is_closed
