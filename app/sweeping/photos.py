"""Removes the blob of a photo whose row is gone or never came."""

from __future__ import annotations

from app.db import Database
from app.storage import Storage, photo_key
from app.sweeping import repository
from app.sweeping.discarding import discard as discard_blob


def discard(database: Database, storage: Storage, user_id: str, sha256: str) -> bool:
    """Remove the photo's blob unless the gallery has such a photo; whether it was removed."""

    def is_wanted() -> bool:
        with database.read() as session:
            return repository.has_photo(session, user_id, sha256)

    return discard_blob(storage, user_id, photo_key(user_id, sha256), is_wanted)
