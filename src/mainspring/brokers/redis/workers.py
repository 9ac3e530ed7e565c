"""What Redis keeps of living workers: a few fields of one hash for each."""

import json
from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

from mainspring.brokers.base import WorkerInfo

FIELDS = ("beat", "started_at", "beat_at", "facts")


def fields_of(worker_ids: Collection[str]) -> list[str]:
    return [f"{worker_id}\0{name}" for worker_id in worker_ids for name in FIELDS]


def infos(fields: Mapping[bytes, bytes]) -> list[WorkerInfo]:
    """Return the workers that a hash holds; what is damaged is left out."""
    known: dict[str, dict[str, Any]] = defaultdict(dict)
    for key, value in fields.items():
        worker_id, _, name = key.decode(errors="replace").rpartition("\0")
        try:
            known[worker_id][name] = json.loads(value)
        except (ValueError, RecursionError):
            continue
    return [
        WorkerInfo(worker_id, **values) for worker_id, values in known.items() if values.keys() == frozenset(FIELDS)
    ]
