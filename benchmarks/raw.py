"""The bare writes that enqueues are compared with; for processes that have Django set up."""

from collections.abc import Sequence
from functools import partial
from typing import Any


def raw_of(broker: Any) -> Any:
    return (RawRedis if broker.using is None else RawInsert)(broker)


class RawInsert:
    """Writes rows with Django's cursor and nothing around it."""

    def __init__(self, broker: Any) -> None:
        from django.db import connections, transaction

        self._connection = connections[broker.using]
        self._atomic = partial(transaction.atomic, using=broker.using)
        self._statement = broker._store.insert
        self.in_bulk = {"in bulk": self._execute_many}

    def prepare(self, job: Any) -> Any:
        return job

    def send(self, row: Any) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(self._statement, row)

    def _execute_many(self, rows: Sequence[Any]) -> None:
        with self._atomic(), self._connection.cursor() as cursor:
            cursor.executemany(self._statement, rows)


class RawRedis:
    """Writes jobs with the client's connection, or its pipeline, and nothing around it."""

    def __init__(self, broker: Any) -> None:
        from mainspring.brokers.redis.scripts import PUSH

        self._keys = broker._client.keys
        self._words = ("EVALSHA", PUSH.digest, len(self._keys), *self._keys, "", "")
        self._connection = broker._client.new_connection()
        self._redis = broker._client._connected()
        self.in_bulk = {"in bulk, HSET": self._hset, "in bulk, HSET and two ZADD": self._hset_and_zadd}

    def prepare(self, job: Any) -> Any:
        from mainspring.brokers.redis.records import encode, line_of, place_of

        return (job.id, encode(job), line_of(job), *place_of(job))

    def send(self, values: Any) -> None:
        self._connection.send_command(*self._words, *values)
        self._connection.read_response()

    def _hset(self, rows: Sequence[Any]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for id, record, *_ in rows:
            pipeline.hset(self._keys.jobs, id, record)
        pipeline.execute()

    def _hset_and_zadd(self, rows: Sequence[Any]) -> None:
        pipeline = self._redis.pipeline(transaction=True)
        for id, record, line, state, place in rows:
            pipeline.hset(self._keys.jobs, id, record)
            pipeline.zadd(self._keys.by_id, {f"{state}\0{line}{id}": 0})
            pipeline.zadd(self._keys.ready, {f"{line}{place}{id}": 0})
        pipeline.execute()
