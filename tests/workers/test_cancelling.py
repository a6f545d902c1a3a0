"""Cancelling a running segmentation: it stops at the next step, in the middle of a photo; what is done stays."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sqlalchemy import select

from app import jobs
from app.storage import masks_prefix
from app.tables import ItemStatus, Job, JobStatus, Mask, SegmentationItem
from models import Cancelled, inference, load_base, segment
from tests.workers.conftest import BASE, add_photo, add_segmentation, job_of, photograph
from workers import segmentation
from workers.segmentation import segment_photos
from workers.tasks import run
from workers.workshop import Workshop

STEPS = ("read_photo", "segment", "encode_labels", "encode_confidence", "class_summary")


@pytest.fixture
def images(workshop: Workshop, user_id: str) -> list[str]:
    return [add_photo(workshop, user_id, photograph(name)) for name in ("chelsea.png", "coffee.png", "astronaut.png")]


def counted(
    workshop: Workshop, job_id: str, step: Callable[..., Any], calls: list[str], *, cancel_in: int, seen: threading.Event
) -> Callable[..., Any]:
    """The real step; during its `cancel_in`th call somebody cancels the job, and the job's holder sees it at once."""

    def count_then_go_on(*arguments: Any, **options: Any) -> Any:
        calls.append(step.__name__)
        if calls.count(step.__name__) == cancel_in:
            with workshop.database.write() as session:
                jobs.request_cancel(session, session.get_one(Job, job_id))
            seen.set()
        return step(*arguments, **options)

    return count_then_go_on


@pytest.mark.parametrize("during", STEPS)
def test_nothing_is_computed_after_the_step_in_which_the_cancel_was_seen(
    workshop: Workshop, user_id: str, images: list[str], monkeypatch: pytest.MonkeyPatch, during: str
) -> None:
    job_id = add_segmentation(workshop, user_id, images)
    seen, calls = threading.Event(), list[str]()
    for name in STEPS:
        step, cancel_in = getattr(segmentation, name), 2 if name == during else -1
        monkeypatch.setattr(segmentation, name, counted(workshop, job_id, step, calls, cancel_in=cancel_in, seen=seen))

    def work(workshop: Workshop, held: Any) -> None:
        monkeypatch.setattr(held, "should_stop", seen.is_set)
        segment_photos(workshop, held)

    run(workshop, job_id, work)
    assert job_of(workshop, job_id).status == JobStatus.CANCELLED
    index = STEPS.index(during)
    if during == "read_photo":
        # `segment` is entered, and stops before its first strip.
        assert calls[len(STEPS) :] == ["read_photo", "segment"]
    elif during == "class_summary":
        assert calls[len(STEPS) :] == list(STEPS)  # the photo is done: it is saved, the next one is not begun
    else:
        assert calls[len(STEPS) :] == list(STEPS[: index + 1])
    with workshop.database.read() as session:
        items = session.scalars(
            select(SegmentationItem.status).where(SegmentationItem.job_id == job_id).order_by(SegmentationItem.position)
        )
        done = 2 if during == "class_summary" else 1
        assert list(items) == [ItemStatus.DONE] * done + [ItemStatus.PENDING] * (3 - done)
        assert len(session.scalars(select(Mask).where(Mask.user_id == user_id)).all()) == done
    stored = [workshop.storage.delete_prefix(masks_prefix(user_id, image)) for image in images]
    assert stored == [2] * done + [0] * (3 - done)


def test_the_enlargement_of_a_large_photo_stops_between_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "STRIP_VALUES", 21 * 64 * 4)  # four rows a strip
    asked = []

    def stop_at_third() -> bool:
        asked.append(1)
        return len(asked) == 3

    with pytest.raises(Cancelled):
        inference.enlarge_labels(torch.zeros(21, 8, 8), (64, 64), stop_at_third)
    assert len(asked) == 3
    with pytest.raises(Cancelled):
        segment(load_base(BASE), np.zeros((64, 64, 3), np.uint8), should_stop=lambda: True)
