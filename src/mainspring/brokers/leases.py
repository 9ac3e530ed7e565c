"""Leases: places under a name that are held for a time, each with a token that only grows."""

from collections.abc import Collection
from typing import NamedTuple

from mainspring.clock import SECOND

LEASE_TIME = 15 * SECOND  # how long a place is held by somebody of whom nothing more is heard
# How long it is remembered under which name the last token was given out: a store's clock is not set back so far.
KEPT = 86_400 * SECOND


class Lease(NamedTuple):
    """One place under a name; the token, which no other under this name ever has, says who holds it."""

    name: str
    token: int


def next_token(last: int, now: int) -> int:
    """
    Return the token that follows `last` (0 for none that is remembered) at this moment of the store.

    It is the moment itself as a rule, so that tokens grow on under a name that has been forgotten.
    """
    return max(last + 1, now)


class Leases:
    """Who holds what, in memory: the specification of every store's leases. The caller keeps threads apart."""

    def __init__(self) -> None:
        self._ends: dict[str, dict[int, int]] = {}  # when each lease of a name is over, by its token
        self._last: dict[str, int] = {}  # the last token of each name

    def take(self, name: str, slots: int, now: int) -> int | None:
        live = {token: end for token, end in self._ends.get(name, {}).items() if end > now}
        if len(live) >= slots:
            return None
        if name not in self._last:
            self._forget_old(now)
        token = self._last[name] = next_token(self._last.get(name, 0), now)
        self._ends[name] = {
            **live,
            token: now + LEASE_TIME,
        }  # without those that were over: they cannot be renewed any more
        return token

    def renew(self, leases: Collection[Lease], now: int) -> set[Lease]:
        kept = {lease for lease in leases if lease.token in self._ends.get(lease.name, {})}
        for lease in kept:
            self._ends[lease.name][lease.token] = now + LEASE_TIME
        return kept

    def drop(self, lease: Lease) -> bool:
        return self._ends.get(lease.name, {}).pop(lease.token, None) is not None

    def clear(self) -> None:
        """Let everything be free; tokens still grow."""
        for ends in self._ends.values():
            ends.clear()

    def _forget_old(self, now: int) -> None:
        for name in [name for name, token in self._last.items() if token < now - KEPT]:
            if all(end <= now for end in self._ends[name].values()):
                del self._last[name], self._ends[name]
