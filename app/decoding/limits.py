"""What one decoder may take of the machine; it takes these limits upon itself before it sees a file."""

from __future__ import annotations

import math
import os
import resource
from dataclasses import asdict, dataclass

_OPEN_FILES = 64


@dataclass(frozen=True)
class DecodingLimits:
    """Bounds of one decoding: pixels, checked before it starts; wall-clock and processor seconds; bytes of address space."""

    max_pixels: int
    seconds: float
    memory_bytes: int

    def as_json(self) -> dict[str, float]:
        """For the decoder's command line."""
        return asdict(self)


def take_process_limits(limits: DecodingLimits) -> None:
    """Bound this process for good: memory, no core dump, no byte written to any file, few open files."""
    for kind, most in (
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
    ):
        _, hard = resource.getrlimit(kind)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))


def allow_processor_seconds(seconds: float) -> None:
    """Give this process so much more processor time; past it the kernel ends it, even inside a C decoder and without a parent."""
    times = os.times()
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(times.user + times.system + seconds) + 1, hard))
