"""A blob store that is away: told from a photo of its own fault, and waited for."""

from __future__ import annotations

from time import monotonic as _now

import structlog

from app.decoding.errors import is_file_system_away
from app.errors import StorageUnavailable
from app.storage import Storage
from app.tenancy import for_everyone
from workers.lease import HeldJob
from workers.workshop import Workshop

_SHORTEST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 4.0

log = structlog.get_logger(__name__)


def is_store_away(error: BaseException) -> bool:
    """Whether the store did not answer, an object store or the disk or share under a folder: it passes, and is no fault of the job's."""
    return isinstance(error, StorageUnavailable) or is_file_system_away(error)


def await_store(workshop: Workshop, held: HeldJob) -> bool:
    """Wait until the store takes a blob and gives it back, at most as long as a lease lasts; asks less and less often.

    False where it is still away, and at once where the job shall stop.
    """
    pause, deadline = _SHORTEST_PAUSE_SECONDS, _now() + held.lease.lease_seconds
    while not workshop.stopping.wait(pause) and not held.should_stop():
        if _answers(workshop.storage):
            return True
        if _now() > deadline:
            return False
        log.warning("storage.awaited", job_id=held.job_id)
        pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
    return False


def _answers(storage: Storage) -> bool:
    try:
        with for_everyone():  # the blob of a check is nobody's
            storage.check()
    except OSError as error:
        return not is_store_away(error)  # a full one answers
    return True
