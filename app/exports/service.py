"""Streams a user's masks as a zip; one mask at a time is in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from functools import partial
from typing import Any, TypeVar

import structlog
from PIL import Image as Picture
from zipstream import ZIP_DEFLATED, ZIP_STORED, ZipStream

from app.clock import utc_now
from app.deps import Wiring
from app.errors import Conflict, GalleryEmpty, MaskLost
from app.exports import coco, labelstudio, panoptic, voc
from app.exports.gathering import Entry, Gathered, LeftOut, gather
from app.images import repository as image_repository
from app.masks.service import label_values, stored_png
from app.model_choice import ModelChoice

Read = TypeVar("Read")

log = structlog.get_logger(__name__)


class ExportFormat(StrEnum):
    """The forms of an export."""

    COCO = "coco"
    COCO_PANOPTIC = "coco-panoptic"
    VOC = "voc"
    LABELSTUDIO = "labelstudio"
    CONFIDENCE = "confidence"


def prepare(wiring: Wiring, user_id: str, choice: ModelChoice | None, wanted: ExportFormat) -> Gathered:
    """Read what will be exported; raises GalleryEmpty, Conflict without any mask, NotFound for an unknown version."""
    with wiring.database.read() as session:
        gathered = gather(session, user_id, choice, "confidence" if wanted == ExportFormat.CONFIDENCE else "labels")
    if not gathered.entries:
        raise GalleryEmpty
    if all(entry.mask is None for entry in gathered.entries):
        raise Conflict("nothing_to_export", "No photo has a mask by this model yet. Start a segmentation first.")
    return gathered


def stream(wiring: Wiring, gathered: Gathered, wanted: ExportFormat) -> Iterator[bytes]:
    """The zip, piece by piece."""
    export = _Export(wiring, gathered)
    writers = {
        ExportFormat.COCO: export.coco,
        ExportFormat.COCO_PANOPTIC: export.coco_panoptic,
        ExportFormat.VOC: export.voc,
        ExportFormat.LABELSTUDIO: export.labelstudio,
        ExportFormat.CONFIDENCE: export.confidence,
    }
    return writers[wanted]()


class _Export:
    """One zip under way, and the photos that are not in it."""

    def __init__(self, wiring: Wiring, gathered: Gathered) -> None:
        self._wiring = wiring
        self._gathered = gathered
        self._zip = ZipStream(compress_type=ZIP_DEFLATED)
        self._left_out: list[dict[str, str]] = []
        for entry in gathered.entries:
            if entry.mask is None:
                self._note(entry, LeftOut("mask_not_ready", "This photo has no mask by this model yet."))

    def coco(self) -> Iterator[bytes]:
        """`annotations.json`, then what was left out."""
        read = partial(self._values, max_pixels=self._wiring.settings.max_rle_pixels)
        pieces = coco.annotations_json(self._gathered, utc_now().isoformat(timespec="seconds"), read)
        yield from self._add("annotations.json", pieces)
        yield from self._end()

    def voc(self) -> Iterator[bytes]:
        """The class names, the masks, their list, then what was left out."""
        yield from self._add("class_names.txt", voc.class_names(self._gathered.classes).encode())
        yield from self._add("labelmap.txt", voc.label_map(self._gathered.classes).encode())
        listed, photos = [], []
        for name, content, entry in voc.mask_files(self._gathered, self._png):
            yield from self._add(name, content, compress_type=ZIP_STORED)  # a PNG is compressed already
            listed.append(entry.stem)
            photos.append({"mask": name, "filename": entry.image.filename, "image_id": entry.image.id, "sha256": entry.image.sha256})
        yield from self._add("ImageSets/Segmentation/default.txt", "".join(f"{stem}\n" for stem in listed).encode())
        yield from self._add("photos.json", _json(photos))
        yield from self._end()

    def coco_panoptic(self) -> Iterator[bytes]:
        """A picture of ids a photo, `panoptic.json`, then what was left out."""
        for name, content in panoptic.files(self._gathered, utc_now().isoformat(timespec="seconds"), self._values):
            yield from self._add(name, content)
        yield from self._end()

    def labelstudio(self) -> Iterator[bytes]:
        """`tasks.json`, `label_config.xml`, then what was left out."""
        read = partial(self._values, max_pixels=self._wiring.settings.max_rle_pixels)
        yield from self._add("tasks.json", labelstudio.tasks_json(self._gathered, read))
        yield from self._add("label_config.xml", labelstudio.label_config(self._gathered).encode())
        yield from self._end()

    def confidence(self) -> Iterator[bytes]:
        """A grey picture a photo (255 = certain), their list, then what was left out."""
        listed = []
        for entry in self._gathered.entries:
            content = self._png(entry) if entry.mask is not None else None
            if content is not None:
                name = f"confidence/{entry.stem}.png"
                yield from self._add(name, content, compress_type=ZIP_STORED)
                listed.append(
                    {"confidence": name, "filename": entry.image.filename, "image_id": entry.image.id, "sha256": entry.image.sha256}
                )
        yield from self._add("photos.json", _json(listed))
        yield from self._end()

    def _add(self, name: str, content: bytes | Iterable[bytes], **options: Any) -> Iterator[bytes]:
        self._zip.add(content, name, **options)
        yield from self._zip.all_files()

    def _end(self) -> Iterator[bytes]:
        if self._left_out:
            yield from self._add("left_out.json", _json(self._left_out))
        yield from self._zip.finalize()

    def _values(self, entry: Entry, *, max_pixels: int | None = None) -> Picture.Image | None:
        """The mask's class ids; None, and noted, where there are none to be had."""
        return self._or_left_out(entry, lambda: label_values(self._stored(entry, max_pixels)))

    def _png(self, entry: Entry) -> bytes | None:
        """The stored file as it is; None, and noted, where it is gone."""
        return self._or_left_out(entry, lambda: self._stored(entry))

    def _stored(self, entry: Entry, max_pixels: int | None = None) -> bytes:
        assert entry.mask is not None
        if max_pixels is not None and entry.image.width * entry.image.height > max_pixels:
            raise LeftOut("too_many_pixels", f"Run lengths are given up to {max_pixels} pixels; the VOC export holds this mask.")
        return stored_png(self._wiring.storage, entry.mask.blob_key)

    def _or_left_out(self, entry: Entry, read: Callable[[], Read]) -> Read | None:
        try:
            return read()
        except LeftOut as reason:
            self._note(entry, reason)
        except MaskLost as lost:
            if self._is_deleted(entry):
                self._note(entry, LeftOut("image_not_found", "The photo was deleted meanwhile."))
                return None
            log.warning("export.mask_lost", image_id=entry.image.id, code=lost.code)
            self._note(entry, LeftOut(lost.code, lost.detail))
        return None

    def _is_deleted(self, entry: Entry) -> bool:
        """Whether the photo went, alone or with its user, while the export was under way."""
        with self._wiring.database.read() as session:
            return not image_repository.existing_ids(session, self._gathered.user_id, [entry.image.id])

    def _note(self, entry: Entry, reason: LeftOut) -> None:
        self._left_out.append({"filename": entry.image.filename, "image_id": entry.image.id, "code": reason.code, "reason": reason.reason})


def _json(document: Any) -> bytes:
    return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"
