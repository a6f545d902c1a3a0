"""One received photo into blob store and gallery: checked, counted against the quota, stored once, never half.

The blob is written before the row, so that no row ever lacks its blob. Whoever removes blobs without a row (a deletion of
the same photo, the sweeper) sets them aside first and asks for the row once more (`app.sweeping.photos`); here the blob
is looked for once more after the row is there. Whichever comes last sees the other.
"""

from __future__ import annotations

from sqlalchemy.exc import IntegrityError

from app import idempotency
from app.db import Database
from app.decoding.errors import PhotoRejected
from app.decoding.facts import PhotoFacts
from app.deps import Wiring
from app.errors import AppError
from app.images import repository
from app.images.multipart import ReceivedFile
from app.quotas import service as quotas
from app.storage import photo_key
from app.sweeping import photos
from app.tables import Image


def take_in(wiring: Wiring, user_id: str, received: ReceivedFile, slot: idempotency.Slot | None = None) -> tuple[str, bool]:
    """The photo's id, and whether it is new; raises PhotoRejected, QuotaExceeded, NotFound for a user who is gone.

    `slot`: where it is remembered that a request's key stored this photo; for that key it is new every time.
    """
    limit = wiring.settings.max_upload_file_bytes
    if received.is_too_large or received.byte_size > limit:
        raise PhotoRejected("file_too_large", f"The file has {received.byte_size} bytes; at most {limit} are taken.")
    known = _known(wiring.database, user_id, received.sha256)
    if known is not None:
        _restore(wiring, user_id, received)
        return known, _was_stored(wiring, slot, known)
    try:
        with wiring.database.read() as session:
            quotas.require_room(session, wiring.settings, user_id, received.byte_size)
        return _store(wiring, user_id, received, slot)
    except (IntegrityError, AppError):
        # Another request stored the same bytes at the same time, or the user was erased meanwhile.
        twin = _known(wiring.database, user_id, received.sha256)
        if twin is None:
            raise
        return twin, _was_stored(wiring, slot, twin)


def _was_stored(wiring: Wiring, slot: idempotency.Slot | None, image_id: str) -> bool:
    with wiring.database.read() as session:
        return idempotency.recall(session, wiring.settings, slot) == {"image_id": image_id}


def _store(wiring: Wiring, user_id: str, received: ReceivedFile, slot: idempotency.Slot | None) -> tuple[str, bool]:
    facts = wiring.decoder.inspect(received.file)
    key = photo_key(user_id, received.sha256)
    wiring.storage.put_stream(key, received.file)
    try:
        image_id = _insert(wiring, user_id, received, facts, slot)
    except BaseException:
        photos.discard(wiring.database, wiring.storage, user_id, received.sha256)
        raise
    if not wiring.storage.exists(key):
        wiring.storage.put_stream(key, received.file)
    return image_id, True


def _restore(wiring: Wiring, user_id: str, received: ReceivedFile) -> None:
    """Give a known photo its file back, where that was lost."""
    key = photo_key(user_id, received.sha256)
    if wiring.storage.exists(key):
        return
    wiring.storage.put_stream(key, received.file)
    if _known(wiring.database, user_id, received.sha256) is None:
        # The photo was deleted meanwhile.
        photos.discard(wiring.database, wiring.storage, user_id, received.sha256)


def _known(database: Database, user_id: str, sha256: str) -> str | None:
    with database.read() as session:
        return repository.id_of_content(session, user_id, sha256)


def _insert(wiring: Wiring, user_id: str, received: ReceivedFile, facts: PhotoFacts, slot: idempotency.Slot | None) -> str:
    image = Image(
        user_id=user_id,
        sha256=received.sha256,
        filename=received.filename,
        media_type=facts.media_type,
        byte_size=received.byte_size,
        width=facts.width,
        height=facts.height,
        taken_at=facts.taken_at,
    )
    with wiring.database.write() as session:
        quotas.require_room(session, wiring.settings, user_id, received.byte_size, locked=True)
        session.add(image)
        session.flush()
        idempotency.replace(session, slot, {"image_id": image.id}, user_id=user_id)
    return image.id
