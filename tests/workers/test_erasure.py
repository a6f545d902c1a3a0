"""Erasing a user while a worker is at one of their jobs, and what stays in a worker's memory; one user beside another."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sqlalchemy import select

from app.erasures import service as erasures
from app.erasures.service import Places
from app.storage import Storage, user_prefix
from app.tables import Image, Job, Mask, PersonalModel, SegmentationItem, User
from app.tenancy import ForeignAccess, acting_for
from tests.workers.conftest import add_adaptation, add_photo, add_segmentation, job_of, photograph
from tests.workers.test_jobs_done import judged
from workers.adaptation import adapt_gallery
from workers.cache import ModelKey
from workers.erasure import finish_erasures
from workers.segmentation import segment_photos
from workers.tasks import Work, run
from workers.workshop import Workshop

PHOTOS = ("chelsea.png", "coffee.png", "astronaut.png")


@pytest.fixture
def places(workshop: Workshop) -> Places:
    return Places(workshop.database, workshop.storage, workshop.settings.redis_url)


def gallery(workshop: Workshop, user_id: str, width: int = 96) -> list[str]:
    return [add_photo(workshop, user_id, photograph(name, width)) for name in PHOTOS]


def another_user(workshop: Workshop) -> str:
    with workshop.database.write() as session:
        user = User()
        session.add(user)
    return user.id


def until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait for something another thread does."""
    waiting = threading.Event()
    for _ in range(int(seconds / 0.05)):
        if condition():
            return
        waiting.wait(0.05)
    raise AssertionError("it did not happen")


@pytest.mark.parametrize(("kind", "stage"), [("adaptation", None), ("segmentation", "segmenting")])
def test_a_user_is_erased_while_the_worker_computes(
    kind: str, stage: str | None, workshop: Workshop, user_id: str, places: Places, tmp_path: Path
) -> None:
    images = gallery(workshop, user_id)
    work: Work = adapt_gallery if kind == "adaptation" else segment_photos
    job_id = add_adaptation(workshop, user_id, 600.0) if kind == "adaptation" else add_segmentation(workshop, user_id, images * 1)
    thread = threading.Thread(target=run, args=(workshop, job_id, work))
    thread.start()
    until(lambda: job_of(workshop, job_id).percent > 0 or not thread.is_alive())

    erasures.begin(workshop.database, user_id)
    until(lambda: bool(erasures.finish_all(places, taken_over_after_seconds=-1)))
    thread.join(120)

    assert not thread.is_alive()
    with workshop.database.read() as session:
        for table in (User, Job, Image, Mask, PersonalModel, SegmentationItem):
            assert session.scalars(select(table)).all() == [], table
    assert workshop.storage.delete_prefix(user_prefix(user_id)) == 0
    assert not [path for path in (tmp_path / "data" / "blobs").rglob("*") if path.is_file()]


def test_the_rows_vanish_under_a_worker_that_no_longer_holds_them(workshop: Workshop, user_id: str, places: Places) -> None:
    """The lease has run out (the worker was stopped): the erasure is over before the worker goes on and writes."""
    images = gallery(workshop, user_id)
    job_id = add_segmentation(workshop, user_id, images, model="base")
    put = Storage.put_bytes

    def erase_before_the_first_mask(storage: Storage, key: str, data: bytes) -> None:
        with workshop.database.write() as session:
            session.query(Job).update({"lease_expires_at": None, "status": "failed"})
        assert erasures.erase(places, user_id).status == "succeeded"
        put(storage, key, data)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Storage, "put_bytes", erase_before_the_first_mask)
        run(workshop, job_id, segment_photos)
    assert workshop.storage.delete_prefix(user_prefix(user_id)) == 0


@pytest.mark.parametrize("kind", ["adaptation", "segmentation"])
def test_a_database_that_is_being_restored_costs_no_photo(kind: str, workshop: Workshop, user_id: str) -> None:
    """Its tables are there, the rows not yet: nobody has been erased. What the worker writes at this moment goes."""
    images = gallery(workshop, user_id)
    is_adaptation = kind == "adaptation"
    job_id = add_adaptation(workshop, user_id) if is_adaptation else add_segmentation(workshop, user_id, images, model="base")
    photos = workshop.storage.keys(user_prefix(user_id))
    put = Storage.put_bytes

    def empty_before_the_result(storage: Storage, key: str, data: bytes) -> None:
        if "/models/" in key or "/masks/" in key:
            with workshop.database.write() as session:
                session.query(Job).delete()
                session.query(User).delete()
        put(storage, key, data)

    with pytest.MonkeyPatch.context() as patched:
        judged(patched, accepted=True)
        patched.setattr(Storage, "put_bytes", empty_before_the_result)
        run(workshop, job_id, adapt_gallery if is_adaptation else segment_photos)
    with workshop.database.read() as session:
        assert session.scalars(select(User)).all() == []
    kept = [key for key in workshop.storage.keys(user_prefix(user_id)) if "/checkpoints/" not in key]
    assert kept == photos


def personal_model(workshop: Workshop, user_id: str, monkeypatch: pytest.MonkeyPatch) -> PersonalModel:
    judged(monkeypatch, accepted=True)
    run(workshop, add_adaptation(workshop, user_id), adapt_gallery)
    with workshop.database.read() as session:
        return session.scalars(select(PersonalModel).where(PersonalModel.user_id == user_id)).one()


def masks(workshop: Workshop, user_id: str, images: list[str], model: object) -> list[bytes]:
    """Segment these photos anew; returns the stored files."""
    with workshop.database.write() as session:
        session.query(Mask).filter(Mask.user_id == user_id).delete()
    run(workshop, add_segmentation(workshop, user_id, images, model=model), segment_photos)
    with workshop.database.read() as session:
        rows = session.scalars(select(Mask).where(Mask.user_id == user_id).order_by(Mask.image_id)).all()
    assert len(rows) == len(images)
    return [workshop.storage.get_bytes(key) for row in rows for key in (row.labels_key, row.confidence_key)]


def test_one_users_adaptation_leaves_the_others_masks_as_they_were(
    workshop: Workshop, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    bob = another_user(workshop)
    his, hers = gallery(workshop, bob), gallery(workshop, user_id)
    before = masks(workshop, bob, his, "base")
    personal_model(workshop, user_id, monkeypatch)
    masks(workshop, user_id, hers, "personal")
    assert masks(workshop, bob, his, "base") == before
    assert masks(workshop, bob, his, "personal") == before, "without a model of his own he gets the base's masks"


def test_one_users_adaptation_leaves_the_masks_of_anothers_model_as_they_were(
    workshop: Workshop, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have a model of their own; his is in the worker's memory when hers is made and used."""
    bob = another_user(workshop)
    his, hers = gallery(workshop, bob), [add_photo(workshop, user_id, photograph(name, 112)) for name in PHOTOS]
    personal_model(workshop, bob, monkeypatch)
    base, before = masks(workshop, bob, his, "base"), masks(workshop, bob, his, "personal")
    assert before != base, "a model that changes nothing would prove nothing"
    personal_model(workshop, user_id, monkeypatch)
    assert masks(workshop, user_id, hers, "personal") != masks(workshop, user_id, hers, "base")
    assert workshop.models.user_ids() == {bob, user_id}
    assert masks(workshop, bob, his, "personal") == before
    workshop.models.forget({bob})
    assert masks(workshop, bob, his, "personal") == before, "also when his model is read from its file again"
    assert masks(workshop, bob, his, "base") == base


def test_a_model_in_memory_is_no_permission(workshop: Workshop, user_id: str) -> None:
    key = ModelKey(user_id, 1, "0" * 64)
    held = object()
    with acting_for(user_id):
        assert workshop.models.get(key, lambda: (held, 1)) is held  # type: ignore[arg-type, return-value]
    with acting_for(another_user(workshop)), pytest.raises(ForeignAccess):
        workshop.models.get(key, lambda: (held, 1))  # type: ignore[arg-type, return-value]


def test_the_models_of_erased_users_leave_the_memory(workshop: Workshop, user_id: str, places: Places) -> None:
    bob = another_user(workshop)
    for owner in (user_id, bob):
        workshop.models.get(ModelKey(owner, 1, "0" * 64), lambda: (object(), 10))  # type: ignore[arg-type, return-value]
    finish_erasures(workshop)
    assert workshop.models.user_ids() == {user_id, bob}
    erasures.erase(places, user_id)
    finish_erasures(workshop)
    assert workshop.models.user_ids() == {bob}
    assert workshop.models.counts().byte_size == 10


def test_a_model_file_that_was_exchanged_is_not_loaded(workshop: Workshop, user_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another valid model file under the same key: only its hash tells."""
    images = gallery(workshop, user_id)
    model = personal_model(workshop, user_id, monkeypatch)
    held = workshop.storage.get_bytes(model.blob_key)
    workshop.storage.put_bytes(model.blob_key, held[:-1] + bytes([held[-1] ^ 1]))
    job_id = add_segmentation(workshop, user_id, images, model=model.version)
    run(workshop, job_id, segment_photos)
    job = job_of(workshop, job_id)
    assert (job.status, job.error_code) == ("failed", "model_file_invalid")
    workshop.storage.put_bytes(model.blob_key, held)
    job_id = add_segmentation(workshop, user_id, images, model=model.version)
    run(workshop, job_id, segment_photos)
    assert job_of(workshop, job_id).status == "succeeded"
