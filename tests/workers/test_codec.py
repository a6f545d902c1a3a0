"""Photo bytes to pixels, results to PNG."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from tests.app.photos import encoded, jpeg, jpeg_with_exif, picture
from workers.codec import (
    PhotoTooLarge,
    PhotoUnreadable,
    class_summary,
    decode_photo,
    encode_confidence,
    encode_labels,
)

MAX_PIXELS = 1_000_000


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    return decode_photo(io.BytesIO(data), max_pixels)


@pytest.mark.parametrize(
    ("format", "mode"),
    [("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "P"), ("PNG", "RGBA"), ("PNG", "1"), ("WEBP", "RGB"),
     ("TIFF", "RGB"), ("HEIF", "RGB")],
)  # fmt: skip
def test_every_kind_of_photo_becomes_rgb(format: str, mode: str) -> None:
    photo = decode(encoded(picture(64, 48, mode=mode), format))
    assert photo.shape == (48, 64, 3)
    assert photo.dtype == np.uint8


def test_exif_orientation_is_applied() -> None:
    # Orientation 6: the camera was held upright, the stored 64 × 48 pixels lie on their side.
    assert decode(jpeg_with_exif(orientation=6)).shape == (64, 48, 3)
    assert decode(jpeg_with_exif(orientation=1)).shape == (48, 64, 3)


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    pixels = np.array([[0, 257 * 100, 65535]], dtype=np.uint16)
    photo = decode(encoded(Image.fromarray(pixels), "PNG"))
    assert photo[0, :, 0].tolist() == [0, 100, 255]


def test_too_many_pixels_are_refused_before_they_are_decoded() -> None:
    with pytest.raises(PhotoTooLarge, match="64×48"):
        decode(jpeg(), max_pixels=64 * 48 - 1)


@pytest.mark.parametrize("data", [b"", b"this is a text", jpeg()[:-200], encoded(picture(), "PNG")[:60]])
def test_broken_bytes_are_named(data: bytes) -> None:
    with pytest.raises(PhotoUnreadable):
        decode(data)


def test_labels_come_back_as_they_were_with_their_palette() -> None:
    labels = np.array([[0, 1, 2], [2, 255, 0]], dtype=np.uint8)
    palette = [(0, 0, 0), (128, 0, 0), (0, 128, 0)]
    image = Image.open(io.BytesIO(encode_labels(labels, palette)))
    assert image.mode == "P"
    assert image.size == (3, 2)
    assert np.array_equal(np.asarray(image), labels)
    assert image.convert("RGB").getpixel((2, 0)) == (0, 128, 0)


def test_confidence_is_eight_bit_grey() -> None:
    image = Image.open(io.BytesIO(encode_confidence(np.array([[0.0, 0.5, 1.0]], dtype=np.float32))))
    assert image.mode == "L"
    assert np.asarray(image).tolist() == [[0, 128, 255]]


def test_class_summary_counts_area_and_mean_confidence() -> None:
    labels = np.array([[0, 0], [0, 2]], dtype=np.uint8)
    confidence = np.array([[1.0, 0.5], [0.6, 0.25]], dtype=np.float32)
    assert class_summary(labels, confidence, ["background", "cat", "dog"]) == [
        {"id": 0, "name": "background", "area_share": 0.75, "mean_confidence": 0.7},
        {"id": 2, "name": "dog", "area_share": 0.25, "mean_confidence": 0.25},
    ]
