"""A photo that its decoder cannot bear fails alone: the worker, its job and the other photos go on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from PIL import Image as Pillow
from sqlalchemy import select

from app.decoding.limits import DecodingLimits
from app.decoding.pool import DecoderPool
from app.tables import ItemStatus, JobStatus, SegmentationItem
from tests.app.photos import encoded
from tests.workers.conftest import add_photo, add_segmentation, job_of, photograph
from workers.lease import hold
from workers.segmentation import segment_photos
from workers.workshop import Workshop


@pytest.fixture
def narrow(workshop: Workshop) -> Iterator[Workshop]:
    """A worker whose decoder has little memory and few pixels."""
    decoder = DecoderPool(DecodingLimits(max_pixels=100_000_000, seconds=60.0, memory_bytes=300 * 1024**2))
    yield replace(workshop, decoder=decoder)
    decoder.close()


def test_a_photo_that_needs_too_much_memory_fails_alone(narrow: Workshop, user_id: str) -> None:
    hostile = encoded(Pillow.new("RGBA", (8000, 8000), "red"), "PNG", compress_level=1)
    photos = [add_photo(narrow, user_id, content) for content in (photograph("coffee.png"), hostile, photograph("chelsea.png"))]
    job_id = add_segmentation(narrow, user_id, photos)
    with hold(narrow.database, narrow.settings, job_id, narrow.owner, narrow.stopping) as held:
        assert held is not None
        segment_photos(narrow, held)
    with narrow.database.read() as session:
        items = session.scalars(select(SegmentationItem).where(SegmentationItem.job_id == job_id).order_by(SegmentationItem.position)).all()
    assert [item.status for item in items] == [ItemStatus.DONE, ItemStatus.FAILED, ItemStatus.DONE]
    assert (items[1].error_code, "memory" in (items[1].error_reason or "")) == ("photo_unreadable", True)
    assert job_of(narrow, job_id).status == JobStatus.SUCCEEDED
