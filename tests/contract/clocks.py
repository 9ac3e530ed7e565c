"""A clock that tests can rely on: its moment stands still."""

from mainspring.clock import SECOND, Clock

TICK = 1 / SECOND  # seconds in the shortest step of a clock


class FrozenClock(Clock):
    """Shows one moment until somebody travels, whatever the store says; `elapsed` runs on."""

    START = 1_767_225_600 * SECOND  # 2026-01-01, a whole second

    def moment(self) -> int:
        return self.START + self._travelled

    def tick(self) -> int:
        """Move on by one microsecond and return the moment, so that no two jobs share a place in the line."""
        self.travel(TICK)
        return self.moment()
