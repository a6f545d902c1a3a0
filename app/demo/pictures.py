"""Pictures for the report: thumbnails, masks laid over them, areas. Pillow only; sizes in pixels."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import pillow_heif
from PIL import Image, ImageChops, ImageFilter, ImageOps

from app.demo.result import ClassInfo, ClassShare

FILL_ALPHA = 130
EDGE_ALPHA = 220
"""How much of a class colour covers its area and its edge, of 255."""
THUMBNAIL_QUALITY = 78
EDGE_WHITENESS = 0.55
DIFFERENCE_COLOUR = (214, 40, 20)
DIFFERENCE_PALENESS = 0.35
PAPER = (127, 127, 127)
"""Behind transparent pixels."""

pillow_heif.register_heif_opener()


def open_thumbnail(path: Path, longest_pixels: int) -> Image.Image:
    """The photo, EXIF-upright RGB, its longer side at most `longest_pixels`.

    Raises:
        OSError: this computer cannot decode it (the server could).
    """
    with Image.open(path) as opened:
        opened.draft("RGB", (longest_pixels, longest_pixels))  # lets a JPEG be decoded at a fraction of its size
        upright = ImageOps.exif_transpose(opened)
        upright.thumbnail((longest_pixels, longest_pixels))
        if "A" not in upright.getbands() and "transparency" not in upright.info:
            return upright.convert("RGB")
        paper = Image.new("RGB", upright.size, PAPER)
        paper.paste(upright, mask=upright.convert("RGBA").getchannel("A"))
        return paper


def open_labels(path: Path) -> Image.Image:
    """A mask's class ids as an 8-bit grey picture (a palette picture's indices, not its colours)."""
    with Image.open(path) as opened:
        return Image.frombytes("L", opened.size, opened.tobytes()) if opened.mode == "P" else opened.convert("L")


def lay_over(photo: Image.Image, labels: Image.Image, classes: Sequence[ClassInfo]) -> Image.Image:
    """The photo with every class but the background (id 0) filled in its colour and edged in a paler one; same size."""
    small = labels.resize(photo.size, Image.Resampling.NEAREST)
    things = small.point([0] + [255] * 255)
    coloured = _coloured(small, classes)
    filled = Image.composite(coloured, photo, things.point([value * FILL_ALPHA // 255 for value in range(256)]))
    borders = ImageChops.difference(small.filter(ImageFilter.MaxFilter(3)), small.filter(ImageFilter.MinFilter(3)))
    edges = ImageChops.multiply(borders.point([0] + [EDGE_ALPHA] * 255), things)
    # Paler, because several VOC colours are nearly black and would be lost on a dark photo.
    paler = Image.blend(coloured, Image.new("RGB", photo.size, (255, 255, 255)), EDGE_WHITENESS)
    return Image.composite(paler, filled, edges)


def difference(photo: Image.Image, before: Image.Image, after: Image.Image) -> Image.Image:
    """The photo in pale grey, with the pixels whose class differs between two masks filled in; same size."""
    small = [labels.resize(photo.size, Image.Resampling.NEAREST) for labels in (before, after)]
    differs = ImageChops.difference(*small).point([0] + [255] * 255)
    pale = Image.blend(photo.convert("L").convert("RGB"), Image.new("RGB", photo.size, (255, 255, 255)), DIFFERENCE_PALENESS)
    return Image.composite(Image.new("RGB", photo.size, DIFFERENCE_COLOUR), pale, differs)


def _coloured(labels: Image.Image, classes: Sequence[ClassInfo]) -> Image.Image:
    palette = [0] * 768
    for entry in classes:
        palette[entry.id * 3 : entry.id * 3 + 3] = entry.color
    coloured = Image.frombytes("P", labels.size, labels.tobytes())
    coloured.putpalette(palette)
    return coloured.convert("RGB")


def class_shares(labels: Image.Image, classes: Sequence[ClassInfo]) -> tuple[ClassShare, ...]:
    """The classes present and their share of the area, largest first."""
    names = {entry.id: entry.name for entry in classes}
    pixels = labels.width * labels.height
    counts = [(index, count) for index, count in enumerate(labels.histogram()) if count]
    counts.sort(key=lambda pair: (-pair[1], pair[0]))
    return tuple(ClassShare(index, names.get(index, f"class {index}"), count / pixels) for index, count in counts)


def changed_share(before: Image.Image, after: Image.Image) -> float:
    """The share of pixels whose class differs, in [0, 1]; pictures of different sizes differ wholly."""
    if before.size != after.size:
        return 1.0
    same = ImageChops.difference(before, after).histogram()[0]
    return 1 - same / (before.width * before.height)


def data_uri(image: Image.Image) -> str:
    """The picture as a JPEG inside a `data:` address."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=THUMBNAIL_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
