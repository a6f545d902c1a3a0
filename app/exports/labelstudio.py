"""Label Studio: `tasks.json` to import, each class of each photo as one brush region of a prediction, and the labelling interface.

The photos themselves are not in the export: `data.image` names each as Label Studio's local storage does,
`data.filename` is the name that it was uploaded under.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from PIL import Image as Picture

from app.exports.brush_rle import encode_classes
from app.exports.coco import ReadLabels, file_name
from app.exports.gathering import BACKGROUND, Entry, Gathered

FROM_NAME, TO_NAME = "brush", "image"
LOCAL_FILES = "/data/local-files/?d=photos/"


def tasks_json(gathered: Gathered, read: ReadLabels) -> Iterator[bytes]:
    """The list of tasks piece by piece; `read` gives None for a photo to be left out."""
    names = {entry.id: entry.name for entry in gathered.classes}
    written = False
    yield b"["
    for entry in gathered.entries:
        values = read(entry) if entry.mask is not None else None
        if values is not None:
            yield (b",\n" if written else b"\n") + json.dumps(_task(entry, values, names), ensure_ascii=False).encode()
            written = True
    yield b"\n]\n"


def label_config(gathered: Gathered) -> str:
    """The labelling interface that the tasks belong to: paste it into the project's settings."""
    labels = "".join(
        f'    <Label value={quoteattr(entry.name)} background="rgb({",".join(map(str, entry.color))})"/>\n'
        for entry in gathered.classes
        if entry.id != BACKGROUND
    )
    return (
        f'<View>\n  <Image name="{TO_NAME}" value="$image"/>\n'
        f'  <BrushLabels name="{FROM_NAME}" toName="{TO_NAME}">\n{labels}  </BrushLabels>\n</View>\n'
    )


def _task(entry: Entry, values: Picture.Image, names: Mapping[int, str]) -> dict[str, Any]:
    assert entry.mask is not None
    found = [value for value, count in enumerate(values.histogram()) if count and value != BACKGROUND]
    rles = encode_classes(values, found)
    prediction = {
        "model_version": f"{entry.mask.base} v{entry.mask.model_version}",
        "result": [_region(f"{entry.image.id}-{value}", values.size, names.get(value, str(value)), rles[value]) for value in found],
    }
    image = entry.image
    data = {"image": LOCAL_FILES + quote(file_name(entry)), "filename": image.filename, "image_id": image.id, "sha256": image.sha256}
    return {"data": data, "predictions": [prediction]}


def _region(region_id: str, size: tuple[int, int], name: str, rle: list[int]) -> dict[str, Any]:
    return {
        "id": region_id,
        "type": "brushlabels",
        "from_name": FROM_NAME,
        "to_name": TO_NAME,
        "original_width": size[0],
        "original_height": size[1],
        "image_rotation": 0,
        "value": {"format": "rle", "rle": rle, "brushlabels": [name]},
    }
