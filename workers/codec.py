"""Arrays → bytes: labels and confidence to PNG. (Photos become arrays in `app.decoding`, seen from `workers.gallery`.)"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

_PALETTE_BYTES = 256 * 3
# The confidence is nearly noise: a higher level takes much longer and saves little.
_CONFIDENCE_COMPRESSION = 3
_LABELS = 256
_STRIP_PIXELS = 4 * 2**20


class PhotoUnreadable(ValueError):
    """The stored bytes cannot be decoded; the message says why."""


class PhotoTooLarge(ValueError):
    """The photo has more pixels than this deployment decodes."""


def encode_labels(labels: UInt8[np.ndarray, "height width"], palette: Sequence[tuple[int, int, int]]) -> bytes:
    """A palette PNG whose pixel values are the class ids."""
    image = Image.fromarray(labels)
    # All 256 entries: with few colours Pillow would write fewer bits a pixel and change the ids beyond them.
    colors = [channel for color in palette for channel in color]
    image.putpalette(colors + [0] * (_PALETTE_BYTES - len(colors)))
    return _png(image)


def encode_confidence(confidence: Float[np.ndarray, "height width"]) -> bytes:
    """An 8-bit grey PNG; 255 stands for certainty."""
    scaled = np.empty(confidence.shape, dtype=np.uint8)
    for rows in _strips(confidence.shape):
        scaled[rows] = np.rint(np.clip(confidence[rows], 0.0, 1.0) * 255.0)
    return _png(Image.fromarray(scaled), compress_level=_CONFIDENCE_COMPRESSION)


def class_summary(
    labels: UInt8[np.ndarray, "height width"],
    confidence: Float[np.ndarray, "height width"],
    names: Sequence[str],
) -> list[dict[str, object]]:
    """The classes present: id, name, share of the photo's area in [0, 1], mean confidence in [0, 1]; largest first."""
    pixels, confidences = np.zeros(_LABELS, dtype=np.int64), np.zeros(_LABELS)
    for rows in _strips(labels.shape):  # numpy counts with 16 bytes a pixel
        flat = labels[rows].ravel()
        pixels += np.bincount(flat, minlength=_LABELS)
        confidences += np.bincount(flat, weights=confidence[rows].ravel(), minlength=_LABELS)
    present = [int(index) for index in np.argsort(-pixels, kind="stable") if pixels[index] and index < len(names)]
    return [
        {
            "id": index,
            "name": names[index],
            "area_share": round(float(pixels[index] / labels.size), 6),
            "mean_confidence": round(float(confidences[index] / pixels[index]), 4),
        }
        for index in present
    ]


def _strips(shape: tuple[int, ...]) -> Iterator[slice]:
    """Strips of rows, so that what is computed of a mask beside it stays small however large the photo is."""
    height, width = shape
    rows = max(1, _STRIP_PIXELS // max(1, width))
    return (slice(top, top + rows) for top in range(0, height, rows))


def _png(image: Image.Image, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", **options)
    return buffer.getvalue()
