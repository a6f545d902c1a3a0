"""From an exception to a stable code and a sentence that the user of the service can act on."""

from __future__ import annotations

from dataclasses import dataclass

import structlog
import torch
from sqlalchemy.exc import SQLAlchemyError

from app.errors import BlobNotFound, is_disk_full
from models.bases.errors import BaseNotAvailable
from models.datasets import UnusableFile
from models.memory import is_out_of_memory
from models.types import ModelFileError
from workers.cache import UnknownBase
from workers.codec import PhotoTooLarge, PhotoUnreadable

# Said without being a torch.OutOfMemoryError; of any accelerator's own allocator, and of the libraries that stand on CUDA.
_DEVICE_MEMORY = ("error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")

log = structlog.get_logger(__name__)


class UnknownModelVersion(Exception):
    """The job asks for a version of the personal model that does not exist (any more)."""

    def __init__(self, version: int, base: str) -> None:
        super().__init__(f"This user has no model of version {version} for the base {base!r}.")


class GalleryVanished(Exception):
    """The photos were deleted before the job began, or while it ran."""

    def __init__(self) -> None:
        super().__init__("There is no photo left: they were deleted.")


@dataclass(frozen=True)
class Failure:
    """Why something ended: `code` for programs, `reason` for people."""

    code: str
    reason: str


def describe(error: BaseException) -> Failure:
    """What to tell the user of this error; never shows a traceback or a path of the server."""
    if isinstance(error, BaseNotAvailable):
        return Failure(error.code, str(error))
    if is_disk_full(error):
        return Failure("storage_full", "The service has no room left to store the result. Try again when there is room.")
    if _ran_out_of_memory(error):
        return Failure("out_of_memory", "The worker ran out of memory. Try smaller photos, or a machine with more memory.")
    if is_device_lost(error):
        return Failure("device_lost", "The worker's GPU stopped working. Try again.")
    for kinds, code, sentence in _KNOWN:
        if isinstance(error, kinds):
            return Failure(code, sentence or str(error))
    return Failure("internal_error", f"The worker met an error that it does not know ({type(error).__name__}).")


def is_device_lost(error: BaseException) -> bool:
    """Whether the accelerator has failed (an assertion or a bad access in it, broken memory, no device any more).

    Every later call of this process fails, too, so that only another process can go on.
    """
    if _ran_out_of_memory(error):
        return False
    return isinstance(error, torch.AcceleratorError) or (isinstance(error, RuntimeError) and str(error).startswith("CUDA error:"))


def _ran_out_of_memory(error: BaseException) -> bool:
    return is_out_of_memory(error) or (isinstance(error, RuntimeError) and any(words in str(error) for words in _DEVICE_MEMORY))


def log_failure(event: str, error: BaseException, **context: object) -> Failure:
    """`describe`, with the whole traceback in the log."""
    failure = describe(error)
    log.error(event, code=failure.code, exc_info=error, **context)
    return failure


# The first line that fits counts. Without a sentence of its own, a kind of error speaks for itself.
_KNOWN: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str, str | None], ...] = (
    (BlobNotFound, "photo_missing", "The stored file is missing: the photo or model was deleted meanwhile."),
    (PhotoTooLarge, "photo_too_large", None),
    (PhotoUnreadable, "photo_unreadable", None),
    (
        UnusableFile,
        "source_unreadable",
        "A labelled source photo of this service cannot be used; its log tells the operator which.",
    ),
    (ModelFileError, "model_file_invalid", "The model's file is gone, damaged, or does not fit this version of the service. Adapt again."),
    (UnknownModelVersion, "unknown_model_version", None),
    (GalleryVanished, "gallery_empty", None),
    (UnknownBase, "unknown_base", None),
    (SQLAlchemyError, "database_error", "The database did not take the result. Try again."),
    (OSError, "storage_error", "The blob store could not be read or written. Try again."),
)


def _codes_of(kind: type[BaseNotAvailable]) -> set[str]:
    return {kind.code}.union(*(_codes_of(sub) for sub in kind.__subclasses__()))


FAILURE_CODES = frozenset(
    {"storage_full", "out_of_memory", "device_lost", "internal_error", "worker_died", *(code for _, code, _ in _KNOWN)}
    | _codes_of(BaseNotAvailable)
)
"""What a failed job can be said to have failed with: what `describe` gives, and what `app.jobs` gives a job that no worker would finish."""
