"""The one place that asks what time it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

SETTLE_SECONDS = 10.0
"""After a jump of the wall clock this long no lease is judged by it; every worker renews its lease more often."""
_SMALLEST_JUMP_SECONDS = 2.0


def utc_now() -> datetime:
    """Now, as an aware UTC time."""
    return datetime.now(UTC)


class JumpWatch:
    """Notices at each look whether the wall clock was set since the last one, by the monotonic clock."""

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._distance = wall() - monotonic()
        self._jumped_at: float | None = None

    def is_settled(self) -> bool:
        """Whether times that others wrote may be compared with ours: False for a while after a jump."""
        with self._lock:
            now = self._monotonic()
            distance = self._wall() - now
            if abs(distance - self._distance) > _SMALLEST_JUMP_SECONDS:
                self._jumped_at = now
            # Always: a clock that is corrected little by little does not jump.
            self._distance = distance
            return self._jumped_at is None or now - self._jumped_at >= SETTLE_SECONDS


_watch = JumpWatch()


def is_settled() -> bool:
    """`JumpWatch.is_settled` of this process."""
    return _watch.is_settled()
