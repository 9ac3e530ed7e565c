"""The scripts that Redis runs. Each begins with `_common.lua` and is known by the hash of its whole text."""

from hashlib import sha1
from importlib.resources import files
from typing import NamedTuple


class Script(NamedTuple):
    """A Lua script; the server knows it by `digest` once it has seen `source`."""

    name: str
    source: bytes
    digest: str


def _load(name: str) -> Script:
    common, own = ((files(__name__) / f"{part}.lua").read_bytes() for part in ("_common", name))
    source = common + b"\n" + own
    return Script(name, source, sha1(source, usedforsecurity=False).hexdigest())


(
    PUSH,
    CLAIM,
    SETTLE,
    MOVE,
    READ,
    DUE,
    SEARCH,
    COUNTS,
    PRUNE,
    DELETE,
    BEAT,
    TIME,
    CALL,
    CHECK,
    GUARD,
    KEYED,
    LEVELS,
    ADMIT,
    CHANGE,
    HOLDING,
    FAIR,
    HEADS,
    FORGET,
    TAKE_LEASE,
    RENEW_LEASES,
    AHEAD,
) = map(
    _load,
    (
        *("push", "claim", "settle", "move", "read", "due", "search", "counts", "prune", "delete", "beat"),
        *("time", "call", "check", "guard", "keyed", "levels", "admit", "change", "holding", "fair", "heads"),
        *("forget", "take_lease", "renew_leases", "ahead"),
    ),
)
