"""The broker that keeps jobs in a database of the project, through Django's own connection."""

from mainspring.brokers.database.broker import DatabaseBroker

__all__ = ["DatabaseBroker"]
