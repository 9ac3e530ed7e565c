"""Leases in Redis: under each name a text that says who holds it until when."""

from collections.abc import Collection

from mainspring.brokers.leases import KEPT, LEASE_TIME, Lease
from mainspring.brokers.redis import scripts
from mainspring.brokers.redis.client import Client

# Each is given the microseconds by which a test has moved the clock; the moment is the server's own.


def take(client: Client, name: str, slots: int, moved: int) -> int | None:
    token = client.run(scripts.TAKE_LEASE, name, slots, moved, LEASE_TIME, KEPT)
    return None if token is None else int(token)


def renew(client: Client, leases: Collection[Lease], moved: int) -> set[Lease]:
    return _go_on(client, leases, moved, LEASE_TIME)


def drop(client: Client, lease: Lease) -> bool:
    return bool(_go_on(client, [lease], 0, 0))


def _go_on(client: Client, leases: Collection[Lease], moved: int, time: int) -> set[Lease]:
    if not leases:
        return set()
    ordered = sorted(leases)
    words = [word for lease in ordered for word in lease]
    return {ordered[number] for number in client.run(scripts.RENEW_LEASES, moved, time, *words)}
