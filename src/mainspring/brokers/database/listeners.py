"""How a worker hears of work: each listener has a connection of its own, apart from Django's."""

import copy
import time

from mainspring.brokers.database import errors
from mainspring.brokers.database.store import Connection
from mainspring.brokers.listening import WakeListener


def own_connection(connection: Connection) -> Connection:
    """Open a connection to the same database that no pool, transaction or thread of Django's shares."""
    settings = copy.deepcopy(connection.settings_dict)
    settings["AUTOCOMMIT"] = True
    for option in ("pool", "read_timeout"):
        settings["OPTIONS"].pop(option, None)
    own: Connection = type(connection)(settings, connection.alias)
    own.inc_thread_sharing()
    own.ensure_connection()
    return own


class ConnectionListener(WakeListener):
    """Hears of the calls of `wake` on a connection of its own; `_hears_on` is what databases do differently."""

    def __init__(self, own: Connection) -> None:
        super().__init__()
        self._own = own

    def fileno(self) -> int | None:
        return int(self._own.connection.fileno())

    def close(self) -> None:
        self._own.close()

    def _was_woken(self) -> bool:
        return errors.run(self._own, self._hears_on)

    def _hears_on(self, own: Connection) -> bool:
        raise NotImplementedError


class PollingListener:
    """Says yes from time to time, ever more seldom, where a database cannot call."""

    SHORTEST, LONGEST = 0.05, 0.5
    hears_calls = False

    def __init__(self) -> None:
        self._say_yes_after(self.SHORTEST)

    def fileno(self) -> None:
        return None

    def has_news(self) -> bool:
        late = time.monotonic() - self._yes_at
        if late < 0:
            return False
        # Whoever has not asked for long was busy, so there may be more to do.
        self._say_yes_after(self.SHORTEST if late > self.LONGEST else min(self.interval * 1.5, self.LONGEST))
        return True

    def _say_yes_after(self, seconds: float) -> None:
        self.interval = seconds
        self._yes_at = time.monotonic() + seconds

    def close(self) -> None:
        """There is nothing to close."""
