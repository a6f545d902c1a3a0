"""COCO's panoptic form: a PNG a photo whose colour is the segment's id (red + 256 green + 65536 blue), and `panoptic.json`.

A semantic mask tells no two cats apart: every class of a photo is one segment, its id is the category's, nothing is a "thing".
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

from PIL import Image as Picture

from app.exports.coco import ReadLabels, areas_of, box_of, image_of, numbered
from app.exports.gathering import BACKGROUND, Gathered

FOLDER = "panoptic"


def files(gathered: Gathered, written: str, read: ReadLabels) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each picture, then of the document, which speaks of the pictures that could be made."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, entry in numbered(gathered):
        values = read(entry)
        if values is None:
            continue
        name = f"{entry.stem}.png"
        images.append(image_of(number, entry))
        annotations.append({"image_id": number, "file_name": name, "segments_info": _segments(values)})
        yield f"{FOLDER}/{name}", _ids_png(values)
    document = {
        "info": {"description": "Masks by personalseg", "version": "1", "date_created": written},
        "licenses": [],
        "categories": [_category(entry.id, entry.name, entry.color) for entry in gathered.classes if entry.id != BACKGROUND],
        "images": images,
        "annotations": annotations,
    }
    yield "panoptic.json", json.dumps(document, ensure_ascii=False).encode() + b"\n"


def _category(class_id: int, name: str, color: tuple[int, int, int]) -> dict[str, Any]:
    return {"id": class_id, "name": name, "supercategory": "", "isthing": 0, "color": list(color)}


def _segments(values: Picture.Image) -> list[dict[str, Any]]:
    return [
        {"id": class_id, "category_id": class_id, "area": area, "bbox": box_of(values, class_id), "iscrowd": 0}
        for class_id, area in areas_of(values).items()
    ]


def _ids_png(values: Picture.Image) -> bytes:
    nothing = Picture.new("L", values.size, 0)  # ids are below 256: green and blue stay dark; 0 is what no segment covers
    target = io.BytesIO()
    Picture.merge("RGB", (values, nothing, nothing)).save(target, "PNG")
    return target.getvalue()
