"""The broker of the store under test, as a process would make it for itself."""

from django.conf import settings

from mainspring.brokers.database import DatabaseBroker

PREFIX = "mainspring:default"


def new_broker(clock):
    if settings.STORE == "redis":
        from mainspring.brokers.redis import RedisBroker

        return RedisBroker("default", settings.REDIS_URL, PREFIX, clock)
    return DatabaseBroker("default", "default", clock)
