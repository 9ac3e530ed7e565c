"""Our backends in the places of Django's Dummy and Immediate, for Django's own tests."""

from mainspring.backends import DatabaseBackend, MemoryBackend
from mainspring.results import result_of
from mainspring.testing import drain
from tests.contract.tables import empty


class Memory(MemoryBackend):
    pass


class Database(DatabaseBackend):
    """Has the two names by which Django's tests look into DummyBackend; MemoryBackend has them anyway."""

    @property
    def results(self):
        return [result_of(job, self.alias) for job in reversed(self.broker.search(limit=1000))]

    def clear(self):
        empty(self.database)


class Immediate:
    """Runs what is enqueued before the enqueue returns."""

    def enqueue(self, task, args, kwargs):
        result = super().enqueue(task, args, kwargs)
        drain(self.alias, raise_errors=False)
        result.refresh()
        return result


class MemoryImmediate(Immediate, MemoryBackend):
    pass


class DatabaseImmediate(Immediate, DatabaseBackend):
    pass
