"""Finds the mask that is asked for, and gives it in the form that is asked for."""

from __future__ import annotations

import io

from PIL import Image as Picture
from sqlalchemy.orm import Session

from app.catalog import service as catalog
from app.decoding.errors import PhotoRejected
from app.decoding.signatures import is_whole_png
from app.deps import Wiring
from app.errors import BlobNotFound, MaskLost, MaskNotReady, NotFound, Unprocessable
from app.images.service import photo_unreadable
from app.images.service import require as require_image
from app.job_documents import job_url
from app.masks import repository
from app.masks.rle import encode_classes
from app.masks.schemas import MaskClass, MaskDocument, MaskFormat, Rle, RleDocument, RleSegment
from app.model_choice import ModelChoice
from app.personal_models import repository as model_repository
from app.personal_models import service as models_service
from app.segmentations import pending
from app.storage import Storage, photo_key
from app.tables import Image, Mask


def find(wiring: Wiring, user_id: str, image_id: str, choice: ModelChoice | None, *, base: str | None = None) -> tuple[Image, Mask]:
    """The photo and its mask; without a choice, the mask of the model in use, else the base's.

    `base`: of several base models' masks this one's; it goes with the choice `base`. Raises NotFound for the photo or the version,
    MaskNotReady where the mask is still to be made, Unprocessable for a `base` that is unknown or beside another choice.
    """
    if base is not None and choice != "base":
        raise Unprocessable("base_without_base_model", "`base` names one of several base models: it goes with `model=base`.")
    image = require_image(wiring.database, user_id, image_id)
    with wiring.database.read() as session:
        mask = _chosen(session, user_id, image_id, choice, base)
        if mask is None and base is not None:
            catalog.resolve(session, wiring.settings, base)  # raises for one that no worker has
        job = None if mask else pending.job_of(session, user_id, image_id, choice, base)
    if mask is None:
        detail = "There is no mask of this photo by this model yet. "
        detail += "A job is making one." if job else "Start a segmentation first."
        raise MaskNotReady(detail, None if job is None else job_url(job))
    return image, mask


def _chosen(session: Session, user_id: str, image_id: str, choice: ModelChoice | None, base: str | None) -> Mask | None:
    if choice == "base":
        return repository.newest(session, user_id, image_id, version=0, base=base)
    if isinstance(choice, int):
        version = models_service.require(session, user_id, choice)
        return repository.newest(session, user_id, image_id, version=version.version, base=version.base)
    active = model_repository.active(session, user_id)
    if active is not None:
        mask = repository.newest(session, user_id, image_id, version=active.version, base=active.base)
        # Whoever asks for the personal mask by name is not given the base's in its stead.
        if mask is not None or choice == "personal":
            return mask
    return repository.newest(session, user_id, image_id, version=0)


def stored_as(mask: Mask, wanted: MaskFormat) -> str | None:
    """The key of the blob that is this format as it stands; None for a format that is made when it is asked for."""
    return {MaskFormat.PNG: mask.labels_key, MaskFormat.CONFIDENCE: mask.confidence_key}.get(wanted)


def labels_png(storage: Storage, mask: Mask) -> bytes:
    """The palette PNG: class ids as pixel values, at the photo's own upright size."""
    return stored_png(storage, mask.labels_key)


def confidence_png(storage: Storage, mask: Mask) -> bytes:
    """The 8-bit grey PNG; 255 = certain."""
    return stored_png(storage, mask.confidence_key)


def overlay_png(wiring: Wiring, image: Image, mask: Mask) -> bytes:
    """The photo with its classes laid over it; the background shows the photo alone."""
    labels = stored_png(wiring.storage, mask.labels_key)
    try:
        with wiring.storage.open(photo_key(image.user_id, image.sha256)) as photo:
            return wiring.decoder.overlay(photo, io.BytesIO(labels))
    except BlobNotFound as error:
        raise NotFound("photo_missing", "The photo's file is no longer there.") from error
    except PhotoRejected as rejection:
        if rejection.code == "mask_damaged":
            raise _damaged() from rejection
        raise photo_unreadable(rejection) from rejection


def document(image: Image, mask: Mask) -> MaskDocument:
    """The mask in numbers."""
    return MaskDocument(
        image_id=image.id,
        model_version=mask.model_version,
        base=mask.base,
        width=image.width,
        height=image.height,
        classes=_classes(mask),
        created_at=mask.created_at,
    )


def rle_document(storage: Storage, image: Image, mask: Mask, *, max_pixels: int) -> RleDocument:
    """The mask as COCO run lengths; raises Unprocessable for a photo with more than `max_pixels`."""
    if image.width * image.height > max_pixels:
        raise Unprocessable("format_not_supported", f"`rle` is given up to {max_pixels} pixels; use `png`.")
    classes = _classes(mask)
    values = label_values(stored_png(storage, mask.labels_key))
    counts = encode_classes(values, [entry.id for entry in classes])
    segments = [
        RleSegment(
            category_id=entry.id,
            name=entry.name,
            segmentation=Rle(size=(image.height, image.width), counts=counts[entry.id]),
        )
        for entry in classes
    ]
    return RleDocument(image_id=image.id, model_version=mask.model_version, base=mask.base, segments=segments)


def _classes(mask: Mask) -> list[MaskClass]:
    return [MaskClass.model_validate(entry) for entry in mask.classes]


def label_values(png: bytes) -> Picture.Image:
    """The mask's class ids as a picture of one byte a pixel; raises MaskLost for a damaged file."""
    try:
        with Picture.open(io.BytesIO(png)) as labels:
            # A palette picture's bytes are the class ids; seen as grey they can be looked up in a table.
            return Picture.frombytes("L", labels.size, labels.tobytes())
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow says of broken chunks
        raise _damaged() from error


def stored_png(storage: Storage, key: str) -> bytes:
    """The labels or the confidence as they are stored; raises MaskLost where the file is gone or cut off."""
    try:
        data = storage.get_bytes(key)
    except BlobNotFound as error:
        raise MaskLost("mask_missing", "The mask's file is no longer there. Segment the photo again.") from error
    if not is_whole_png(data):
        raise _damaged()
    return data


def _damaged() -> MaskLost:
    return MaskLost("mask_damaged", "The mask's file is damaged. Segment the photo again.")
