"""How long a row of waiting items has not moved."""


class Standstill:
    """Compares the number of items taken so far with what it was at the last call."""

    def __init__(self) -> None:
        self._taken = -1
        self._since = 0.0

    def restart(self) -> None:
        """Begin anew: what lay before the row was filled says nothing."""
        self._taken = -1

    def seconds(self, taken: int, elapsed: float) -> float:
        if taken != self._taken:
            self._taken, self._since = taken, elapsed
        return elapsed - self._since
