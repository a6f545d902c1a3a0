"""Results to PNG."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from workers.codec import (
    class_summary,
    encode_confidence,
    encode_labels,
)


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
