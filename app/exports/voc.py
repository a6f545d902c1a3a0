"""Pascal VOC: the palette PNGs as they are, their list, and the names of the classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from app.exports.gathering import Entry, ExportClass, Gathered

MASK_FOLDER = "SegmentationClass"


def mask_files(gathered: Gathered, read: Callable[[Entry], bytes | None]) -> Iterator[tuple[str, bytes, Entry]]:
    """Name, bytes and photo of each mask."""
    for entry in gathered.entries:
        labels = read(entry) if entry.mask is not None else None
        if labels is not None:
            yield f"{MASK_FOLDER}/{entry.stem}.png", labels, entry


def class_names(classes: Sequence[ExportClass]) -> str:
    """One name per line; the line's number, from 0, is the value in the masks."""
    by_id = {entry.id: entry.name for entry in classes}
    return "".join(f"{by_id.get(index, f'unused-{index}')}\n" for index in range(max(by_id, default=-1) + 1))


def label_map(classes: Sequence[ExportClass]) -> str:
    """The `labelmap.txt` that CVAT and Datumaro read: name, colour, parts, actions."""
    lines = [f"{entry.name}:{','.join(str(part) for part in entry.color)}::" for entry in classes]
    return "\n".join(["# label:color_rgb:parts:actions", *lines, ""])
