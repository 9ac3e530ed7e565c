"""What a store holds of a storm, and how it is emptied for the next."""

import sys
from typing import Any

from django.conf import settings

from mainspring.brokers.base import Broker
from mainspring.models import Finished, Job
from tests import servers


def stored(broker: Broker) -> list[Any]:
    """Return every job, as often as it is stored: in a database it could stand in both tables."""
    if settings.STORE == "redis":
        return broker.search(limit=sys.maxsize)
    return [*Job.objects.all(), *Finished.objects.all()]


def clear() -> None:
    if settings.STORE == "redis":
        with servers.redis_client(settings.REDIS_URL) as client:
            client.flushall()
    for model in (Job, Finished):
        model.objects.all().delete()
