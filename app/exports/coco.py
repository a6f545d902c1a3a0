"""COCO: one `annotations.json`, each class of each photo as one run-length-encoded region."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from PIL import Image as Picture

from app.exports.gathering import BACKGROUND, Entry, Gathered
from app.masks.rle import encode_classes

_LONGEST_SUFFIX = 10
_ANY_SUFFIX = "photo"

ReadLabels = Callable[[Entry], Picture.Image | None]


def annotations_json(gathered: Gathered, written: str, read: ReadLabels) -> Iterator[bytes]:
    """The document piece by piece, so that no gallery is held whole; `read` gives None for a photo to be left out.

    The images come last: one whose mask turned out not to be readable would else look like a photo of nothing but background.
    """
    head = {
        "info": {"description": "Masks by personalseg", "version": "1", "date_created": written},
        "licenses": [],
        "categories": [_category(entry.id, entry.name) for entry in gathered.classes if entry.id != BACKGROUND],
    }
    yield json.dumps(head, ensure_ascii=False).removesuffix("}").encode() + b', "annotations": ['
    annotation_id, images = 0, []
    for number, entry in numbered(gathered):
        values = read(entry)
        if values is None:
            continue
        images.append(image_of(number, entry))
        for annotation in _annotations(number, values):
            annotation_id += 1
            comma = b"" if annotation_id == 1 else b",\n"
            yield comma + json.dumps({"id": annotation_id, **annotation}).encode()
    yield b'], "images": ' + json.dumps(images, ensure_ascii=False).encode() + b"}\n"


def numbered(gathered: Gathered) -> Iterator[tuple[int, Entry]]:
    """The photos that have a mask, with the number that COCO knows them by."""
    return enumerate((entry for entry in gathered.entries if entry.mask is not None), start=1)


def _category(class_id: int, name: str) -> dict[str, Any]:
    return {"id": class_id, "name": name, "supercategory": ""}


def image_of(number: int, entry: Entry) -> dict[str, Any]:
    """COCO wants a number and a unique name; the service's own id and the name that the photo was uploaded under are beside them."""
    image = entry.image
    return {
        "id": number,
        "file_name": file_name(entry),
        "filename": image.filename,
        "width": image.width,
        "height": image.height,
        "image_id": image.id,
        "sha256": image.sha256,
    }


def file_name(entry: Entry) -> str:
    """A safe and unique name with the photo's own suffix, where that is a short one."""
    _, dot, suffix = entry.image.filename.rpartition(".")
    if dot and suffix.isalnum() and len(suffix) <= _LONGEST_SUFFIX:
        return f"{entry.stem}.{suffix}"
    # Without a suffix the stem `a.jpg` would be the name of the stem `a` with its own.
    return f"{entry.stem}.{_ANY_SUFFIX}" if "." in entry.stem else entry.stem


def areas_of(values: Picture.Image) -> dict[int, int]:
    """Pixels of each class that occurs, the background left out."""
    return {value: count for value, count in enumerate(values.histogram()) if count and value != BACKGROUND}


def _annotations(number: int, values: Picture.Image) -> Iterator[dict[str, Any]]:
    areas = areas_of(values)
    counts = encode_classes(values, areas)
    for class_id, area in areas.items():
        yield {
            "image_id": number,
            "category_id": class_id,
            "iscrowd": 0,
            "area": area,
            "bbox": box_of(values, class_id),
            "segmentation": {"size": [values.height, values.width], "counts": counts[class_id]},
        }


def box_of(values: Picture.Image, class_id: int) -> list[int]:
    """Left, top, width, height."""
    found = values.point([255 * (value == class_id) for value in range(256)]).getbbox()
    assert found is not None
    left, top, right, bottom = found
    return [left, top, right - left, bottom - top]
