"""What a server's settings put at risk: an eviction policy that deletes jobs, and data that is not on a disk."""

from mainspring.brokers.base import Risk
from mainspring.brokers.redis.client import Client


def risks(client: Client) -> list[Risk]:
    """Return what the settings of this server put at risk, as far as it tells."""
    facts = client.facts()
    return [*_eviction(facts), *_persistence(facts)]


def _eviction(facts: dict[str, str]) -> list[Risk]:
    policy = facts.get("maxmemory_policy", "noeviction")
    if not policy.startswith("allkeys"):
        return []  # the other policies take keys with a time to live, and Mainspring has none
    when = "once maxmemory is set" if facts.get("maxmemory") == "0" else "when its memory is full"
    return [
        Risk(
            f"deletes keys {when} (maxmemory-policy {policy}): it can take one of Mainspring's, and all jobs with it.",
            "Set maxmemory-policy noeviction: then an enqueue fails when the memory is full, and nothing is lost.",
        )
    ]


def _persistence(facts: dict[str, str]) -> list[Risk]:
    if facts.get("aof_enabled", "1") == "1":
        return []
    return [
        Risk(
            "has no append-only file: when it ends, all jobs since its last snapshot are lost, and without snapshots"
            " all jobs.",
            "Set appendonly yes; with appendfsync always nothing that was acknowledged is lost, with everysec up to a"
            " second of it when the machine fails.",
        )
    ]
