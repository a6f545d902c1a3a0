"""Arrays → bytes: labels and confidence to PNG. (Photos become arrays in `app.decoding`, seen from `workers.gallery`.)"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

_PALETTE_BYTES = 256 * 3
# The confidence is nearly noise: a higher level takes much longer and saves little.
_CONFIDENCE_COMPRESSION = 3


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
    scaled = np.rint(np.clip(confidence, 0.0, 1.0) * 255.0).astype(np.uint8)
    return _png(Image.fromarray(scaled), compress_level=_CONFIDENCE_COMPRESSION)


def class_summary(
    labels: UInt8[np.ndarray, "height width"],
    confidence: Float[np.ndarray, "height width"],
    names: Sequence[str],
) -> list[dict[str, object]]:
    """The classes present: id, name, share of the photo's area in [0, 1], mean confidence in [0, 1]; largest first."""
    flat = labels.ravel()
    pixels = np.bincount(flat, minlength=len(names))
    confidences = np.bincount(flat, weights=confidence.ravel(), minlength=len(names))
    present = [int(index) for index in np.argsort(-pixels, kind="stable") if pixels[index] and index < len(names)]
    return [
        {
            "id": index,
            "name": names[index],
            "area_share": round(float(pixels[index] / flat.size), 6),
            "mean_confidence": round(float(confidences[index] / pixels[index]), 4),
        }
        for index in present
    ]


def _png(image: Image.Image, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", **options)
    return buffer.getvalue()
