"""Results to PNG."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from workers import codec
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


@pytest.mark.parametrize("strip", [1, 7, 10**6])
def test_strips_change_nothing(strip: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    labels, confidence = rng.integers(0, 4, (9, 5), dtype=np.uint8), rng.random((9, 5), dtype=np.float32)
    monkeypatch.setattr(codec, "_STRIP_PIXELS", strip)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encode_confidence(confidence)))), np.rint(confidence * 255))
    summary = class_summary(labels, confidence, ["a", "b", "c", "d"])
    assert {entry["name"]: entry["area_share"] for entry in summary} == {
        name: pytest.approx((labels == index).mean(), abs=1e-6) for index, name in enumerate("abcd")
    }
    assert all(entry["mean_confidence"] == pytest.approx(confidence[labels == entry["id"]].mean(), abs=1e-4) for entry in summary)


def test_class_summary_counts_area_and_mean_confidence() -> None:
    labels = np.array([[0, 0], [0, 2]], dtype=np.uint8)
    confidence = np.array([[1.0, 0.5], [0.6, 0.25]], dtype=np.float32)
    assert class_summary(labels, confidence, ["background", "cat", "dog"]) == [
        {"id": 0, "name": "background", "area_share": 0.75, "mean_confidence": 0.7},
        {"id": 2, "name": "dog", "area_share": 0.25, "mean_confidence": 0.25},
    ]
