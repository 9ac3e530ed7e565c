"""The broker on Redis or Valkey."""

from mainspring.brokers.redis.broker import RedisBroker

__all__ = ["RedisBroker"]
