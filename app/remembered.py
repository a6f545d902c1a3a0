"""An answer that is given again for some seconds: whoever asks often must not load what is asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """An answer that is at most some seconds old; 0: asked for by every call."""

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._held: tuple[float, T] | None = None

    def get(self, ask: Callable[[], T]) -> T:
        """The answer, asked for at most `seconds` before this call; raises what `ask` raises, which is not remembered."""
        called = self._clock()
        with self._lock:
            # Who waited here for a slow answer takes it, or else they would ask one after the other.
            if self._held is None or called - self._held[0] >= self._seconds:
                self._held = self._clock(), ask()
            return self._held[1]


class Remembered(Generic[T]):
    """What `ask` says, asked again only after some seconds; 0: by every call."""

    def __init__(self, seconds: float, ask: Callable[[], T], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._recent: Recent[T] = Recent(seconds, clock=clock)

    def __call__(self) -> T:
        """As `Recent.get`."""
        return self._recent.get(self._ask)
