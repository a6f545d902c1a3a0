"""Several threads that ask at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

Told = TypeVar("Told")


def at_once(times: int, ask: Callable[[], Told]) -> list[Told]:
    """What so many threads are told that ask together."""
    told: list[Told] = []
    start = threading.Barrier(times)

    def one() -> None:
        start.wait()
        told.append(ask())

    threads = [threading.Thread(target=one) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == times
    return told
