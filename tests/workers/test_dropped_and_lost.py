"""Segmentations whose masks' files are lost, whose model is dropped or replaced meanwhile."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import jobs
from app.clock import utc_now
from app.images import service as photos
from app.jobs import Lease
from app.operations import repository as operations
from app.personal_models import service as personal_models
from app.storage import confidence_key, labels_key, model_key
from app.tables import Image, ItemStatus, Job, JobStatus, Mask, PersonalModel, SegmentationItem
from models import PersonalizeConfig, personalize, save_personal
from tests.workers.conftest import BASE, add_photo, add_segmentation, job_of, photograph
from tests.workers.test_jobs_done import masks_of
from workers import segmentation
from workers.cache import BaseCache
from workers.segmentation import segment_photos
from workers.tasks import run
from workers.workshop import Workshop

BOTH_DATABASES = True


class Noise:
    """Three photos of nothing."""

    ids: Sequence[str] = ("a", "b", "c")

    def load(self, index: int) -> NDArray[np.uint8]:
        return np.random.default_rng(index).integers(0, 256, (48, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model_file(bases: BaseCache) -> bytes:
    """A personal model, whatever the guard thought of it."""
    quick = PersonalizeConfig(budget_seconds=600.0, epochs=1, runs=1, scales=(1.0,), appearance=False)
    result = personalize(bases.get(BASE), Noise(), quick, on_progress=lambda _: None, should_stop=lambda: False)
    assert result.candidate is not None
    return save_personal(result.candidate)


@pytest.fixture
def images(workshop: Workshop, user_id: str) -> list[str]:
    return [add_photo(workshop, user_id, photograph(name)) for name in ("chelsea.png", "coffee.png")]


def add_version(workshop: Workshop, user_id: str, version: int, data: bytes) -> None:
    """A version of the user's model, the one in use from now on."""
    sha256 = hashlib.sha256(data).hexdigest()
    key = model_key(user_id, version, sha256)
    workshop.storage.put_bytes(key, data)
    with workshop.database.write() as session:
        for other in session.scalars(select(PersonalModel).where(PersonalModel.user_id == user_id)):
            other.active = False
        session.flush()
        row = PersonalModel(user_id=user_id, version=version, base=BASE, blob_key=key, sha256=sha256, byte_size=len(data), report={})
        row.active = True
        session.add(row)


def drop(workshop: Workshop, user_id: str, version: int) -> None:
    personal_models.drop(workshop.database, workshop.storage, user_id, version)


def mask_files(workshop: Workshop, user_id: str) -> list[str]:
    return workshop.storage.keys(f"users/{user_id}/masks")


@pytest.mark.parametrize("left", [None, b"", b"\x89PNG\r\n\x1a\n and no end"])
@pytest.mark.parametrize("lost", [labels_key, confidence_key])
def test_a_mask_whose_file_is_lost_is_made_again(
    workshop: Workshop, user_id: str, images: list[str], lost: object, left: bytes | None
) -> None:
    run(workshop, add_segmentation(workshop, user_id, images), segment_photos)
    key = lost(user_id, images[0], BASE, 0)  # type: ignore[operator]
    before = workshop.storage.get_bytes(key)
    workshop.storage.delete(key)
    if left is not None:
        workshop.storage.put_bytes(key, left)
    again = add_segmentation(workshop, user_id, images)
    run(workshop, again, segment_photos)
    assert job_of(workshop, again).status == JobStatus.SUCCEEDED
    assert workshop.storage.get_bytes(key) == before
    assert len(masks_of(workshop, user_id)) == len(images)


def test_a_photo_deleted_while_its_mask_is_saved_takes_the_mask_along(
    workshop: Workshop, user_id: str, images: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    close_done = segmentation._close_done
    deleters: list[threading.Thread] = []

    def close_done_slowly(session: Session, *arguments: Any) -> None:
        close_done(session, *arguments)
        if not deleters:
            delete = partial(photos.delete, workshop.database, workshop.storage, user_id, images[0])
            deleters.append(threading.Thread(target=delete))
            deleters[0].start()
            deleters[0].join(0.5)  # on PostgreSQL it holds what it can get by now

    monkeypatch.setattr(segmentation, "_close_done", close_done_slowly)
    job_id = add_segmentation(workshop, user_id, images)
    run(workshop, job_id, segment_photos)
    deleters[0].join()
    assert job_of(workshop, job_id).attempt == 1, "no deadlock ended it"
    assert [mask.image_id for mask in masks_of(workshop, user_id)] == images[1:]
    with workshop.database.read() as session:
        assert session.scalars(select(Image.id)).all() == images[1:]


def test_a_version_whose_file_is_gone_says_so(workshop: Workshop, user_id: str, images: list[str], model_file: bytes) -> None:
    add_version(workshop, user_id, 1, model_file)
    workshop.storage.delete(model_key(user_id, 1, hashlib.sha256(model_file).hexdigest()))
    job_id = add_segmentation(workshop, user_id, images)
    run(workshop, job_id, segment_photos)
    job = job_of(workshop, job_id)
    assert (job.status, job.error_code, job.model_version) == (JobStatus.FAILED, "model_file_invalid", 1)


def test_a_version_dropped_while_it_makes_a_mask_leaves_nothing(
    workshop: Workshop, user_id: str, images: list[str], model_file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_version(workshop, user_id, 1, model_file)
    make = segmentation._make_mask

    def make_then_drop(workshop: Workshop, *arguments: object) -> Mask:
        mask = make(workshop, *arguments)  # type: ignore[arg-type]
        drop(workshop, user_id, 1)
        return mask

    monkeypatch.setattr(segmentation, "_make_mask", make_then_drop)
    job_id = add_segmentation(workshop, user_id, images)
    run(workshop, job_id, segment_photos)
    job = job_of(workshop, job_id)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "unknown_model_version")
    assert masks_of(workshop, user_id) == [] and mask_files(workshop, user_id) == []


def test_dropping_a_version_leaves_the_masks_of_the_others_and_of_the_base(
    workshop: Workshop, user_id: str, images: list[str], model_file: bytes
) -> None:
    for version in (1, 2):
        add_version(workshop, user_id, version, model_file)
    for model in ("base", 1, 2):
        run(workshop, add_segmentation(workshop, user_id, images[:1], model=model), segment_photos)
    before = {mask.model_version: mask for mask in masks_of(workshop, user_id)}
    assert set(before) == {0, 1, 2}
    drop(workshop, user_id, 2)
    kept = masks_of(workshop, user_id)
    assert {mask.id for mask in kept} == {before[0].id, before[1].id}
    assert mask_files(workshop, user_id) == sorted(key for mask in kept for key in (mask.labels_key, mask.confidence_key))
    with workshop.database.read() as session:
        assert session.scalars(select(PersonalModel.version).where(PersonalModel.user_id == user_id)).all() == [1]


def test_a_version_dropped_before_a_mask_is_found_again_ends_the_job(
    workshop: Workshop, user_id: str, images: list[str], model_file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_version(workshop, user_id, 1, model_file)
    run(workshop, add_segmentation(workshop, user_id, images), segment_photos)
    get_bytes = workshop.storage.get_bytes

    def get_then_drop(key: str) -> bytes:
        found = get_bytes(key)
        if key.endswith(".confidence.png"):
            drop(workshop, user_id, 1)
        return found

    monkeypatch.setattr(workshop.storage, "get_bytes", get_then_drop)
    job_id = add_segmentation(workshop, user_id, images[:1])
    run(workshop, job_id, segment_photos)
    assert job_of(workshop, job_id).error_code == "unknown_model_version"
    assert masks_of(workshop, user_id) == [] and mask_files(workshop, user_id) == []


def test_dropping_a_version_waits_for_the_mask_that_is_being_saved(
    workshop: Workshop, user_id: str, images: list[str], model_file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_version(workshop, user_id, 1, model_file)
    insert = segmentation._insert_mask
    dropping = threading.Thread(target=drop, args=(workshop, user_id, 1))

    def insert_while_dropping(session: object, *arguments: object) -> None:
        insert(session, *arguments)  # type: ignore[arg-type]
        dropping.start()
        time.sleep(1.0)  # it must not come past this transaction

    monkeypatch.setattr(segmentation, "_insert_mask", insert_while_dropping)
    run(workshop, add_segmentation(workshop, user_id, images[:1]), segment_photos)
    dropping.join(60)
    assert masks_of(workshop, user_id) == [] and mask_files(workshop, user_id) == []


def test_a_requeued_segmentation_has_every_mask_of_the_model_in_use(
    workshop: Workshop, user_id: str, images: list[str], model_file: bytes
) -> None:
    add_version(workshop, user_id, 1, model_file)
    job_id = add_segmentation(workshop, user_id, images)
    run(workshop, job_id, segment_photos)
    with workshop.database.write() as session:  # as though it had failed at the second photo
        session.get_one(Job, job_id).status = JobStatus.FAILED
        session.get_one(SegmentationItem, (job_id, images[1])).status = ItemStatus.PENDING
    add_version(workshop, user_id, 2, model_file)
    with workshop.database.write() as session:
        assert operations.requeue(session, job_id, utc_now())
    run(workshop, job_id, segment_photos)
    job = job_of(workshop, job_id)
    assert (job.status, job.model_version) == (JobStatus.SUCCEEDED, 2)
    assert {mask.image_id for mask in masks_of(workshop, user_id) if mask.model_version == 2} == set(images)


@pytest.mark.parametrize("fails", [False, True])
def test_a_photo_is_not_closed_by_a_worker_whose_job_another_has_taken_over(
    workshop: Workshop, user_id: str, images: list[str], monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    job_id = add_segmentation(workshop, user_id, images[:1])
    make, taken = segmentation._make_mask, list[Lease]()

    def make_while_another_takes_over(workshop: Workshop, *arguments: object) -> Mask:
        mask = make(workshop, *arguments)  # type: ignore[arg-type]
        with workshop.database.write() as session:
            assert jobs.expire_leases_of(session, workshop.owner) == 1
            lease = jobs.claim(session, job_id, "another", 60.0)
        assert lease is not None
        taken.append(lease)
        if fails:
            raise ValueError("whatever goes wrong with a photo")
        return mask

    monkeypatch.setattr(segmentation, "_make_mask", make_while_another_takes_over)
    run(workshop, job_id, segment_photos)
    with workshop.database.write() as session:
        assert session.get_one(SegmentationItem, (job_id, images[0])).status == ItemStatus.PENDING
        assert session.scalars(select(Mask)).all() == []
        assert jobs.heartbeat(session, taken[0]).alive
