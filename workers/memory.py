"""The memory of a worker process: bounded while it works, looked at between jobs, given back by ending where it grew too much."""

from __future__ import annotations

import ctypes
import gc
import sys

import psutil
import structlog

from workers.workshop import Workshop

# glibc's numbers (malloc.h). A block of a group's logits is larger, a photo's activations are smaller: the large ones go back to the
# system at once and do not fragment the heap, the small ones are reused. Measured in docs/decisions/0008.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGE_BLOCK_BYTES = 8 * 2**20
_KEPT_BYTES = 64 * 2**20

log = structlog.get_logger(__name__)


def resident_bytes() -> int:
    """What this process holds in memory now."""
    return int(psutil.Process().memory_info().rss)


def bound_allocator() -> bool:
    """Have glibc give large blocks back at once; False where the C library is another."""
    libc = _glibc()
    if libc is None:
        return False
    return bool(libc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES) and libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES))


def give_back() -> None:
    """Return to the system what nobody needs any more."""
    gc.collect()
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


class Recycler:
    """Ends the process between jobs once it has grown past the bound; whoever runs it starts it again."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        self._bound = workshop.settings.worker_max_rss_bytes
        at_start = resident_bytes()
        if at_start >= self._bound:
            # Ending would not help: the next one would be as large.
            log.warning("worker.memory_bound_too_low", bound=self._bound, resident=at_start)
            self._bound = sys.maxsize

    def look(self) -> bool:
        """After a job: whether this process shall end."""
        if resident_bytes() < self._bound:
            return False
        give_back()
        resident = resident_bytes()
        if resident < self._bound:
            return False
        log.info("worker.recycled", bound=self._bound, resident=resident)
        self._workshop.stopping.set()
        return True


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
