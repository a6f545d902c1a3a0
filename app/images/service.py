"""What can be done with photos."""

from __future__ import annotations

from collections.abc import Iterator

from app import idempotency
from app.db import Database
from app.decoding.errors import PhotoRejected
from app.deps import Wiring
from app.errors import BlobNotFound, NotFound, QuotaExceeded, Unprocessable
from app.images import repository
from app.images.intake import take_in
from app.images.multipart import ReceivedFile
from app.images.schemas import ImageDocument, ImagePage, UploadResult
from app.pagination import cut, decode_cursor
from app.storage import Storage, masks_prefix, photo_key
from app.sweeping import photos
from app.tables import Image


def store(wiring: Wiring, user_id: str, received: ReceivedFile, slot: idempotency.Slot | None = None) -> UploadResult:
    """Store one received file, or say why not; the received copy is gone afterwards. `slot`: as of `take_in`."""
    try:
        image_id, is_new = store_photo(wiring, user_id, received, slot)
    except PhotoRejected as rejection:
        return rejected(received.filename, rejection.code, rejection.reason)
    except QuotaExceeded as error:
        return rejected(received.filename, error.code, error.detail)
    finally:
        received.discard()
    return UploadResult(filename=received.filename, status="stored" if is_new else "duplicate", image_id=image_id)


def rejected(filename: str, code: str, reason: str) -> UploadResult:
    """The answer for a file that was not taken."""
    return UploadResult(filename=filename, status="rejected", code=code, reason=reason)


def store_photo(wiring: Wiring, user_id: str, received: ReceivedFile, slot: idempotency.Slot | None = None) -> tuple[str, bool]:
    """The photo's id, and whether it is new; counted. `slot`: as of `take_in`. Raises PhotoRejected, QuotaExceeded."""
    try:
        image_id, is_new = take_in(wiring, user_id, received, slot)
    except (PhotoRejected, QuotaExceeded) as rejection:
        wiring.metrics.count_upload("rejected", rejection.code, received.byte_size)
        raise
    wiring.metrics.count_upload("stored" if is_new else "duplicate", None, received.byte_size)
    return image_id, is_new


def page(database: Database, user_id: str, *, cursor: str | None, limit: int) -> ImagePage:
    """One page of the gallery; raises MalformedCursor."""
    after = decode_cursor(cursor)
    with database.read() as session:
        found = repository.page(session, user_id, after=after, limit=limit + 1)
    shown, next_cursor = cut(found, limit)
    return ImagePage(items=[document(image) for image in shown], next_cursor=next_cursor)


def require(database: Database, user_id: str, image_id: str) -> Image:
    """The user's photo; raises NotFound."""
    with database.read() as session:
        image = repository.get(session, user_id, image_id)
    if image is None:
        raise image_not_found()
    return image


def image_not_found(image_id: str | None = None) -> NotFound:
    """The one answer for an unknown and a foreign photo."""
    extra = {} if image_id is None else {"image_id": image_id}
    return NotFound("image_not_found", "This user has no such photo.", extra=extra)


def delete(database: Database, storage: Storage, user_id: str, image_id: str) -> None:
    """Remove a photo and its masks; raises NotFound."""
    with database.write() as session:
        image = repository.get(session, user_id, image_id)
        if image is None:
            raise image_not_found()
        repository.delete_image(session, user_id, image_id)
    # The rows go first: a crash in between leaves a blob without a row, never a row without its blob.
    # The same photo may have come again meanwhile: then its blob stays.
    photos.discard(database, storage, user_id, image.sha256)
    storage.delete_prefix(masks_prefix(user_id, image_id))


def content(storage: Storage, image: Image) -> Iterator[bytes]:
    """The photo as it was uploaded, piece by piece; raises NotFound when its blob is gone."""
    key = photo_key(image.user_id, image.sha256)
    if not storage.exists(key):
        raise NotFound("photo_missing", "The photo's file is no longer there.")
    return storage.chunks(key)


def small(wiring: Wiring, image: Image, max_side: int) -> bytes:
    """The photo's thumbnail; raises NotFound when its blob is gone."""
    try:
        with wiring.storage.open(photo_key(image.user_id, image.sha256)) as stream:
            return wiring.decoder.thumbnail(stream, max_side)
    except BlobNotFound as error:
        raise NotFound("photo_missing", "The photo's file is no longer there.") from error
    except PhotoRejected as rejection:
        raise photo_unreadable(rejection) from rejection


def photo_unreadable(rejection: PhotoRejected) -> Unprocessable:
    """A stored photo that cannot be decoded now: its file was damaged, or the limits are tighter than they were."""
    return Unprocessable("photo_unreadable", rejection.reason, extra={"cause": rejection.code})


def document(image: Image) -> ImageDocument:
    """The photo as the API shows it."""
    return ImageDocument(
        id=image.id,
        filename=image.filename,
        sha256=image.sha256,
        media_type=image.media_type,
        byte_size=image.byte_size,
        width=image.width,
        height=image.height,
        taken_at=image.taken_at,
        group_index=image.group_index,
        created_at=image.created_at,
    )
