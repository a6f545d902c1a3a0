"""A user's photos as the method wants them: read one at a time, as they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.decoding.errors import PhotoRejected
from app.decoding.pool import DecoderPool
from app.errors import BlobNotFound
from app.storage import Storage, photo_key
from app.tables import Image
from models import PhotoUnavailable
from workers.codec import PhotoTooLarge, PhotoUnreadable


@dataclass(frozen=True)
class Photo:
    """One photo: the id of its row and where its bytes are."""

    image_id: str
    key: str


@dataclass(frozen=True)
class Vanished:
    """A photo that a job began with and that was deleted since."""

    image_id: str


class Gallery:
    """The `PhotoSource` of one user; holds ids and keys, never pixels."""

    def __init__(self, storage: Storage, photos: Sequence[Photo | Vanished], decoder: DecoderPool, at_least: int | None = None) -> None:
        """`at_least`: photos may come smaller than they are, where no side falls below so many pixels; None: at their own size."""
        self._storage = storage
        self._photos = tuple(photos)
        self._decoder = decoder
        self._at_least = at_least

    @property
    def ids(self) -> Sequence[str]:
        """The photos' image ids, in the order of upload."""
        return tuple(photo.image_id for photo in self._photos)

    def load(self, index: int) -> UInt8[np.ndarray, "height width 3"]:
        """The photo, upright RGB. Raises PhotoUnavailable where it was deleted or cannot be read: the job goes on without it."""
        photo = self._photos[index]
        try:
            if isinstance(photo, Vanished):
                raise BlobNotFound(photo.image_id)
            return read_photo(self._storage, photo, self._decoder, self._at_least)
        except BlobNotFound as error:
            raise PhotoUnavailable("The photo was deleted meanwhile.") from error
        except (PhotoUnreadable, PhotoTooLarge) as error:
            raise PhotoUnavailable(str(error)) from error


def read_photo(storage: Storage, photo: Photo, decoder: DecoderPool, at_least: int | None = None) -> UInt8[np.ndarray, "height width 3"]:
    """One photo, upright RGB; raises BlobNotFound, PhotoUnreadable or PhotoTooLarge, whatever its bytes are. `at_least`: as for Gallery."""
    try:
        with storage.open(photo.key) as stream:
            raw = decoder.pixels(stream, at_least)
    except PhotoRejected as rejection:
        kind = PhotoTooLarge if rejection.code == "too_many_pixels" else PhotoUnreadable
        raise kind(rejection.reason) from rejection
    return np.frombuffer(raw.data, dtype=np.uint8).reshape(raw.height, raw.width, 3)


def photos_of(session: Session, user_id: str) -> list[Photo]:
    """All photos of one user, oldest first."""
    rows = session.execute(select(Image.id, Image.sha256).where(Image.user_id == user_id).order_by(Image.id))
    return [Photo(image_id, photo_key(user_id, sha256)) for image_id, sha256 in rows]


def photos_named(photos: Sequence[Photo], ids: Sequence[str]) -> list[Photo | Vanished]:
    """The photos of these ids, in the order of `ids`."""
    there = {photo.image_id: photo for photo in photos}
    return [there.get(image_id) or Vanished(image_id) for image_id in ids]
