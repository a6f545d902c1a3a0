"""UUIDv7 (RFC 9562): ids that sort by the time they were made."""

from __future__ import annotations

import secrets
import threading
import time
import uuid
from datetime import datetime

_RANDOM_BITS = 74
_lock = threading.Lock()
_last: tuple[int, int] = (0, 0)


def new_id() -> str:
    """A new UUIDv7 as text; within this process every id is greater than the one before it."""
    milliseconds, tail = _next_tick()
    rand_a, rand_b = tail >> 62, tail & ((1 << 62) - 1)
    value = (milliseconds << 80) | (0x7 << 76) | (rand_a << 64) | (0b10 << 62) | rand_b
    return str(uuid.UUID(int=value))


def earliest_id(moment: datetime) -> str:
    """What no id that was made at `moment` or later is smaller than."""
    milliseconds = int(moment.timestamp() * 1000)
    return str(uuid.UUID(int=milliseconds << 80))


def _next_tick() -> tuple[int, int]:
    """Milliseconds and 74 bits; counts up from the last ones when the clock did not move forward."""
    global _last
    with _lock:
        now = time.time_ns() // 1_000_000
        # The top random bit starts at zero, so that counting up has room before it overflows.
        fresh = (now, secrets.randbits(_RANDOM_BITS - 1))
        _last = fresh if now > _last[0] else (_last[0], _last[1] + 1 + secrets.randbits(32))
        return _last
