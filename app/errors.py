"""Errors that this service means to give, each with a status, a stable code and what to do about it.

AppError
├── Unauthorized          401  no, wrong, expired or revoked token
├── Forbidden             403  the token is right, and of a kind that may not do this
├── NotFound              404  unknown id, or somebody else's
│   ├── MaskNotReady      404  no mask yet; names the job that will make it
│   └── MaskLost          404  its file is gone or damaged
├── Conflict              409  the state does not allow it
│   ├── GalleryEmpty
│   ├── GalleryTooSmall
│   ├── AdaptationEnding        a cancelled one has not ended yet
│   ├── OtherAdaptation         the one under way is of another base
│   └── SegmentationCancelled   of `/segment`
├── BadRequest            400  the body cannot be read
├── PayloadTooLarge       413
├── UnsupportedMediaType  415
├── Unprocessable         422  the body was read and makes no sense
│   ├── MalformedCursor
│   └── IdempotencyConflict
├── TooManyRequests       429  asked too often; Retry-After says when again
├── SegmentationFailed    500  a worker could not segment this photo
├── Unavailable           503  something the service stands on is missing
├── QuotaExceeded         507  the user has used up what they may store
└── NotInTime             504  the bound passed; names the job that goes on

SchemaTooNew                   the database was made by a newer version (no HTTP: refuses to start)
LeaseLost                      a worker wrote with a stale lease (no HTTP: the worker drops its work)
BlobNotFound                   the blob store does not hold this key
StorageUnavailable             the object store does not answer, or is in trouble; an OSError (HTTP: 503 storage_unavailable)
"""

from __future__ import annotations

import errno
from typing import Any, ClassVar


class AppError(Exception):
    """An answer that is not the one hoped for: HTTP status, stable code, one sentence for a person."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    def __init__(self, code: str, detail: str, *, headers: dict[str, str] | None = None, extra: dict[str, Any] | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.headers = headers or {}
        self.extra = extra or {}


class Unauthorized(AppError):
    """No token, or one that is wrong, expired or revoked."""

    status = 401
    title = "Not authenticated"

    def __init__(self, detail: str) -> None:
        super().__init__("unauthorized", detail, headers={"WWW-Authenticate": 'Bearer realm="personalseg"'})


class Forbidden(AppError):
    """The token is right, and of a kind that may not do this."""

    status = 403
    title = "Not allowed"


class NotFound(AppError):
    """Unknown id, or somebody else's: the two look the same on purpose."""

    status = 404
    title = "Not found"


def user_not_found() -> NotFound:
    """The one answer for an unknown and a foreign user."""
    return NotFound("user_not_found", "There is no such user.")


class MaskNotReady(NotFound):
    """No mask of this photo by this model yet."""

    def __init__(self, detail: str, job_url: str | None) -> None:
        super().__init__("mask_not_ready", detail, extra={"job": job_url})


class MaskLost(NotFound):
    """The mask's row is there, and its file is gone or damaged; `code` says which."""


class Conflict(AppError):
    """The state of the resource does not allow the request."""

    status = 409
    title = "Conflict"


class GalleryEmpty(Conflict):
    """There is no photo to work on."""

    def __init__(self) -> None:
        super().__init__("gallery_empty", "This user has no photos. Upload some first.")


class GalleryTooSmall(Conflict):
    """Too few photos to adapt to."""

    def __init__(self, held: int, needed: int) -> None:
        detail = f"Adapting needs at least {needed} photos; this user has {held}. Upload {needed - held} more."
        super().__init__("gallery_too_small", detail, extra={"images": held, "needed": needed})


class AdaptationEnding(Conflict):
    """The user's adaptation was cancelled and has not ended yet: it does not do what is asked for now, and there can be one only."""

    def __init__(self, job_url: str) -> None:
        detail = "The user's adaptation was cancelled and ends within seconds. Ask again when it has."
        super().__init__("adaptation_ending", detail, extra={"job": job_url})


class OtherAdaptation(Conflict):
    """The user's adaptation under way is of another base than the one asked for."""

    def __init__(self, base: str, job_url: str) -> None:
        detail = f"An adaptation of the base {base} is under way. Wait until it has ended, or cancel it."
        super().__init__("other_adaptation_under_way", detail, extra={"job": job_url})


class SegmentationCancelled(Conflict):
    """Somebody cancelled the job that was to make the mask."""

    def __init__(self, job_url: str) -> None:
        super().__init__("segmentation_cancelled", "The segmentation was cancelled before the mask was made.", extra={"job": job_url})


class BadRequest(AppError):
    """The request cannot be read."""

    status = 400
    title = "Bad request"


class PayloadTooLarge(AppError):
    """More bytes than the service takes."""

    status = 413
    title = "Too large"


class UnsupportedMediaType(AppError):
    """A kind of content that this route does not take."""

    status = 415
    title = "Unsupported media type"


class Unprocessable(AppError):
    """The request was read and makes no sense."""

    status = 422
    title = "Unprocessable"


class MalformedCursor(Unprocessable):
    """A cursor that this service did not give."""

    def __init__(self) -> None:
        super().__init__("bad_cursor", "The cursor was not given by this service. Start again without one.")


class IdempotencyConflict(Unprocessable):
    """The same Idempotency-Key with another body."""

    def __init__(self) -> None:
        super().__init__(
            "idempotency_conflict",
            "This Idempotency-Key came before with another body. Use a new key for a new request.",
        )


class TooManyRequests(AppError):
    """The caller asked too often."""

    status = 429
    title = "Too many requests"

    def __init__(self, code: str, detail: str, *, retry_after_seconds: int) -> None:
        super().__init__(code, detail, headers={"Retry-After": str(max(1, retry_after_seconds))})


class QuotaExceeded(AppError):
    """The user has used up what they may store: `quota` says of what."""

    status = 507
    title = "Quota exceeded"

    def __init__(self, quota: str, detail: str) -> None:
        super().__init__("quota_exceeded", detail, extra={"quota": quota})


class SegmentationFailed(AppError):
    """A worker could not segment the photo."""

    status = 500
    title = "Segmentation failed"


class Unavailable(AppError):
    """Something that the service stands on is missing."""

    status = 503
    title = "Not available"


class NotInTime(AppError):
    """The bound passed; the job goes on."""

    status = 504
    title = "Not in time"


class SchemaTooNew(Exception):
    """The database is of a revision that this version does not know."""

    def __init__(self, revision: str) -> None:
        super().__init__(
            f"The database is of revision {revision}, which this version of personalseg does not know: "
            "it was made by a newer version. Install that version, or use another data folder."
        )
        self.revision = revision


class LeaseLost(Exception):
    """The job has another owner now, or has ended; nothing was written."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"The lease on job {job_id} is stale.")
        self.job_id = job_id


class BlobNotFound(Exception):
    """The blob store does not hold this key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"There is no blob {key!r}.")
        self.key = key


class StorageUnavailable(OSError):
    """The object store does not answer, or says that it is in trouble."""


def is_disk_full(error: BaseException) -> bool:
    """Whether writing failed because there is no room left, or none that this user may take."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
