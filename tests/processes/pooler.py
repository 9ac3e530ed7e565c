"""A proxy that keeps wake-ups to itself, as poolers do."""

import re

from tests.processes.proxy import Proxy

# What a client says in order to be woken, and what reaches the server instead: as long, and without that effect.
SWALLOWED = {
    "postgresql": (re.compile(rb"(?<!UN)LISTEN m"), lambda match: b"SELECT--"),
    "mariadb": (re.compile(rb"WAIT\([^)]+\) /\* mainspring"), lambda match: match[0].replace(b"spring", b"autumn")),
}


class Pooler(Proxy):
    """Passes on everything but for what it swallows, and counts that."""

    def __init__(self, server):
        super().__init__(server)
        self.swallowed = 0
        self._pattern, self._replace = SWALLOWED[server.vendor]

    def asked(self, link, said):
        said, number = self._pattern.subn(self._replace, said)
        self.swallowed += number
        return said
