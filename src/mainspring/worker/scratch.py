"""Files without a name, for what one process writes and another reads."""

import os
import tempfile
from typing import IO


def scratch_file() -> IO[bytes]:
    """Return an empty one, in memory where the system can: a full disk must not keep a process from starting."""
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("mainspring"), "w+b")
    return tempfile.TemporaryFile()
