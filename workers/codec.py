"""Bytes ↔ arrays: a photo file to upright RGB, labels and confidence to PNG."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import IO

import numpy as np
import pillow_heif
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

pillow_heif.register_heif_opener()

_PALETTE_BYTES = 256 * 3
_SIXTEEN_BITS_PER_EIGHT = 257  # 65535 / 255
# The confidence is nearly noise: a higher level takes much longer and saves little.
_CONFIDENCE_COMPRESSION = 3


class PhotoUnreadable(ValueError):
    """The stored bytes cannot be decoded; the message says why."""


class PhotoTooLarge(ValueError):
    """The photo has more pixels than this deployment decodes."""

    def __init__(self, width: int, height: int, max_pixels: int) -> None:
        super().__init__(f"The photo has {width}×{height} pixels; at most {max_pixels:,} are decoded.")


def decode_photo(stream: IO[bytes], max_pixels: int) -> UInt8[np.ndarray, "height width 3"]:
    """The photo as EXIF-upright RGB in [0, 255].

    Raises PhotoTooLarge before any pixel is decoded, PhotoUnreadable for broken bytes.
    """
    with warnings.catch_warnings():
        # The bound is ours, checked below; Pillow's own warning would only fill the log.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(stream) as image:
                if image.width * image.height > max_pixels:
                    raise PhotoTooLarge(image.width, image.height, max_pixels)
                return np.array(_to_rgb(ImageOps.exif_transpose(image)), dtype=np.uint8)
        except Image.DecompressionBombError as error:
            raise PhotoUnreadable(f"The photo is too large to decode: {error}") from error
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError) as error:
            if isinstance(error, PhotoTooLarge):
                raise
            raise PhotoUnreadable(f"The photo cannot be decoded: {error}") from error


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


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # Pillow clips 16-bit grey at 255 instead of scaling it.
        wide = np.clip(np.asarray(image, dtype=np.int64), 0, 65535) // _SIXTEEN_BITS_PER_EIGHT
        image = Image.fromarray(wide.astype(np.uint8))
    return image if image.mode == "RGB" else image.convert("RGB")


def _png(image: Image.Image, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", **options)
    return buffer.getvalue()
