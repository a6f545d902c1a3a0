"""Decoders of this test session's own."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from PIL import Image

from app.decoding.limits import DecodingLimits
from app.decoding.pool import DecoderPool

LIMITS = DecodingLimits(max_pixels=10_000_000, seconds=60.0, memory_bytes=1024**3)


@pytest.fixture(scope="session")
def decoder() -> Iterator[DecoderPool]:
    """One decoder process for all tests that do not kill it."""
    pool = DecoderPool(LIMITS)
    yield pool
    pool.close()


def decoded(decoder: DecoderPool, data: bytes, at_least: int | None = None) -> Image.Image:
    """The photo as every reader gets it."""
    raw = decoder.pixels(io.BytesIO(data), at_least)
    return Image.frombytes("RGB", (raw.width, raw.height), bytes(raw.data))
