"""The two kinds of jobs, done for real in this process with the tiny base."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from sqlalchemy import delete, select

from app import jobs, queue
from app.adaptations.report import AdaptationReport
from app.storage import confidence_key, labels_key
from app.tables import (
    Image,
    ItemStatus,
    JobKind,
    JobStatus,
    Mask,
    PersonalModel,
    RegisteredBase,
    SegmentationItem,
    User,
    Worker,
)
from models import Cancelled, Personalization, PersonalizeConfig, Verdict
from models.source import open_source
from tests.app.photos import jpeg_with_exif
from tests.workers.conftest import BASE, add_adaptation, add_photo, add_segmentation, job_of, photograph
from workers import adaptation
from workers.adaptation import adapt_gallery
from workers.broker import make_broker
from workers.cache import BaseCache
from workers.lease import HeldJob
from workers.presence import beat, register, sweep, unregister
from workers.segmentation import segment_photos
from workers.tasks import ring_dependents, run, run_next
from workers.workshop import Workshop

BOTH_DATABASES = True
PHOTOGRAPHS = ("chelsea.png", "astronaut.png", "coffee.png")


@pytest.fixture
def images(workshop: Workshop, user_id: str) -> list[str]:
    return [add_photo(workshop, user_id, photograph(name)) for name in PHOTOGRAPHS]


def items_of(workshop: Workshop, job_id: str) -> dict[str, SegmentationItem]:
    with workshop.database.read() as session:
        rows = session.scalars(select(SegmentationItem).where(SegmentationItem.job_id == job_id))
        return {item.image_id: item for item in rows}


def models_of(workshop: Workshop, user_id: str) -> list[PersonalModel]:
    with workshop.database.read() as session:
        return list(session.scalars(select(PersonalModel).where(PersonalModel.user_id == user_id)))


def masks_of(workshop: Workshop, user_id: str) -> list[Mask]:
    with workshop.database.read() as session:
        return list(session.scalars(select(Mask).where(Mask.user_id == user_id)))


def opened(workshop: Workshop, key: str) -> Pillow.Image:
    return Pillow.open(io.BytesIO(workshop.storage.get_bytes(key)))


def judged(monkeypatch: pytest.MonkeyPatch, *, accepted: bool) -> None:
    """Let the real method run, and decide in the guard's place: what is tested here is what follows."""
    real = adaptation.personalize

    def decide(base: object, photos: object, config: PersonalizeConfig, **callbacks: object) -> Personalization:
        quick = replace(config, epochs=1, runs=1, scales=(1.0,), appearance=False)
        result = real(base, photos, quick, **callbacks)  # type: ignore[arg-type]
        assert result.candidate is not None, result.verdict
        code, sentence = ("kept", "Kept the personal model.") if accepted else ("class_collapse", "Kept the base.")
        return replace(result, verdict=Verdict(accepted, code, sentence))

    monkeypatch.setattr(adaptation, "personalize", decide)


def test_segmentation_with_the_base_saves_masks_of_the_upright_size(workshop: Workshop, user_id: str) -> None:
    upright = add_photo(workshop, user_id, jpeg_with_exif(orientation=6))
    job_id = add_segmentation(workshop, user_id, [upright])
    run(workshop, job_id, segment_photos)
    job = job_of(workshop, job_id)
    assert (job.status, job.model_version, job.percent) == (JobStatus.SUCCEEDED, 0, 100.0)
    assert job.report == {"photos": 1, "done": 1, "failed": 0, "model_version": 0}
    labels = opened(workshop, labels_key(user_id, upright, BASE, 0))
    assert (labels.mode, labels.size) == ("P", (48, 64))
    assert opened(workshop, confidence_key(user_id, upright, BASE, 0)).size == (48, 64)
    (mask,) = masks_of(workshop, user_id)
    present = {entry["id"] for entry in mask.classes}
    assert present == set(np.unique(np.asarray(labels)).tolist())
    assert sum(entry["area_share"] for entry in mask.classes) == pytest.approx(1.0, abs=1e-3)


def test_a_bad_photo_fails_alone(workshop: Workshop, user_id: str, images: list[str]) -> None:
    broken = add_photo(workshop, user_id, b"not a photo")
    missing = add_photo(workshop, user_id, b"never stored", store=False)
    job_id = add_segmentation(workshop, user_id, [broken, images[0], missing])
    run(workshop, job_id, segment_photos)
    items = items_of(workshop, job_id)
    assert job_of(workshop, job_id).status == JobStatus.SUCCEEDED
    assert items[images[0]].status == ItemStatus.DONE
    assert (items[broken].status, items[broken].error_code) == (ItemStatus.FAILED, "photo_unreadable")
    assert (items[missing].status, items[missing].error_code) == (ItemStatus.FAILED, "photo_missing")


def test_a_segmentation_without_any_result_fails_with_the_first_reason(workshop: Workshop, user_id: str) -> None:
    job_id = add_segmentation(workshop, user_id, [add_photo(workshop, user_id, b"not a photo")])
    run(workshop, job_id, segment_photos)
    job = job_of(workshop, job_id)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "photo_unreadable")


def test_masks_are_reused(workshop: Workshop, user_id: str, images: list[str]) -> None:
    run(workshop, add_segmentation(workshop, user_id, images[:1]), segment_photos)
    first = masks_of(workshop, user_id)
    again = add_segmentation(workshop, user_id, images[:1])
    run(workshop, again, segment_photos)
    assert job_of(workshop, again).status == JobStatus.SUCCEEDED
    assert [mask.id for mask in masks_of(workshop, user_id)] == [mask.id for mask in first]


def test_a_mask_of_other_weights_of_the_base_is_made_anew(workshop: Workshop, user_id: str, images: list[str]) -> None:
    run(workshop, add_segmentation(workshop, user_id, images[:1], model="base"), segment_photos)
    (first,) = masks_of(workshop, user_id)
    base = workshop.bases.get(BASE)
    assert first.base_sha256 == base.info.sha256
    retrained = BaseCache("cpu")
    retrained._loaded[BASE] = replace(base, info=replace(base.info, sha256="f" * 64))
    run(replace(workshop, bases=retrained), add_segmentation(workshop, user_id, images[:1], model="base"), segment_photos)
    (second,) = masks_of(workshop, user_id)
    assert second.id != first.id and second.base_sha256 == "f" * 64
    with workshop.database.write() as session:
        session.get_one(Mask, second.id).base_sha256 = None  # of before the column was there
    run(workshop, add_segmentation(workshop, user_id, images[:1], model="base"), segment_photos)
    assert [mask.id for mask in masks_of(workshop, user_id)] == [second.id]


def test_a_source_photo_that_cannot_be_used_is_not_put_down_to_the_blob_store(
    workshop: Workshop, user_id: str, images: list[str], tmp_path: Path
) -> None:
    for folder in ("images", "masks"):
        (tmp_path / "source" / folder).mkdir(parents=True)
    (tmp_path / "source" / "images" / "a.jpg").write_bytes(photograph("chelsea.png")[:-800])
    Pillow.new("L", (160, 100), 8).save(tmp_path / "source" / "masks" / "a.png")
    job_id = add_adaptation(workshop, user_id)
    run(replace(workshop, source=open_source(tmp_path / "source")), job_id, adapt_gallery)
    job = job_of(workshop, job_id)
    assert (job.status, job.error_code, job.attempt) == (JobStatus.FAILED, "source_unreadable", 1)
    assert str(tmp_path) not in (job.error_reason or "")


def test_a_version_that_does_not_exist_is_named(workshop: Workshop, user_id: str, images: list[str]) -> None:
    job_id = add_segmentation(workshop, user_id, images, model=7)
    run(workshop, job_id, segment_photos)
    assert job_of(workshop, job_id).error_code == "unknown_model_version"


def test_a_stopping_worker_hands_the_rest_of_the_photos_back(workshop: Workshop, user_id: str, images: list[str]) -> None:
    job_id = add_segmentation(workshop, user_id, images)

    def stop_after_start(workshop: Workshop, held: object) -> None:
        workshop.stopping.set()
        segment_photos(workshop, held)  # type: ignore[arg-type]

    run(workshop, job_id, stop_after_start)
    assert job_of(workshop, job_id).status == JobStatus.QUEUED
    workshop.stopping.clear()
    run(workshop, job_id, segment_photos)
    job = job_of(workshop, job_id)
    assert (job.status, job.attempt) == (JobStatus.SUCCEEDED, 1)


def test_an_accepted_adaptation_makes_and_activates_a_version(
    workshop: Workshop, user_id: str, images: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    judged(monkeypatch, accepted=True)
    job_id = add_adaptation(workshop, user_id)
    run(workshop, job_id, adapt_gallery)
    job = job_of(workshop, job_id)
    assert (job.status, job.model_version, job.error_code) == (JobStatus.SUCCEEDED, 1, None)
    (model,) = models_of(workshop, user_id)
    assert (model.version, model.active, model.base, model.job_id) == (1, True, BASE, job_id)
    assert len(workshop.storage.get_bytes(model.blob_key)) == model.byte_size
    with workshop.database.read() as session:
        groups = session.scalars(select(Image.group_index).where(Image.user_id == user_id)).all()
        newest = max(session.scalars(select(Image.created_at).where(Image.user_id == user_id)).all())
    assert None not in groups
    assert job.report is not None
    assert job.report["photos_until"] == newest.isoformat()
    described = AdaptationReport.model_validate(job.report)
    assert described.classes and described.photos_compared
    assert {photo.id for photo in described.photos_compared} == set(images)
    assert not any(entry.model_extra for entry in [*described.classes, *described.photos_compared])
    assert model.report == job.report

    second = add_adaptation(workshop, user_id)
    run(workshop, second, adapt_gallery)
    assert [(model.version, model.active) for model in models_of(workshop, user_id)] == [(1, False), (2, True)]

    segmentation = add_segmentation(workshop, user_id, images[:1])
    run(workshop, segmentation, segment_photos)
    done = job_of(workshop, segmentation)
    assert (done.status, done.model_version) == (JobStatus.SUCCEEDED, 2)
    assert workshop.storage.exists(labels_key(user_id, images[0], BASE, 2))


def test_a_refused_adaptation_keeps_what_was_there(
    workshop: Workshop, user_id: str, images: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    judged(monkeypatch, accepted=False)
    job_id = add_adaptation(workshop, user_id)
    run(workshop, job_id, adapt_gallery)
    job = job_of(workshop, job_id)
    assert (job.status, job.error_code, job.error_reason) == (JobStatus.REFUSED, "class_collapse", "Kept the base.")
    assert job.report is not None
    assert models_of(workshop, user_id) == []


def test_a_cancelled_adaptation_leaves_nothing(
    workshop: Workshop, user_id: str, images: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_arguments: object, **_callbacks: object) -> Personalization:
        raise Cancelled

    monkeypatch.setattr(adaptation, "personalize", stop)
    job_id = add_adaptation(workshop, user_id)
    run(workshop, job_id, adapt_gallery)
    # Nobody asked to cancel: the worker only had to stop.
    assert job_of(workshop, job_id).status == JobStatus.QUEUED
    assert models_of(workshop, user_id) == []


def test_a_user_erased_during_the_adaptation_leaves_no_blob(
    workshop: Workshop, user_id: str, images: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    judged(monkeypatch, accepted=True)
    take_version = adaptation._take_version

    def erase_before_the_file(*arguments: object) -> object:
        """The last steps of an erasure; the model's file is written after them."""
        stored = take_version(*arguments)  # type: ignore[arg-type]
        with workshop.database.write() as session:
            session.delete(session.get_one(User, user_id))
        workshop.storage.delete_prefix(f"users/{user_id}")
        return stored

    monkeypatch.setattr(adaptation, "_take_version", erase_before_the_file)
    run(workshop, add_adaptation(workshop, user_id), adapt_gallery)
    assert workshop.storage.delete_prefix(f"users/{user_id}") == 0


def test_an_adaptation_whose_photos_are_gone_says_so(workshop: Workshop, user_id: str) -> None:
    job_id = add_adaptation(workshop, user_id)
    run(workshop, job_id, adapt_gallery)
    assert job_of(workshop, job_id).error_code == "gallery_empty"


def test_a_segmentation_whose_photos_are_gone_says_so(workshop: Workshop, user_id: str, images: list[str]) -> None:
    job_id = add_segmentation(workshop, user_id, images[:1])
    with workshop.database.write() as session:
        session.execute(delete(Image).where(Image.id == images[0]))
    run(workshop, job_id, segment_photos)
    job = job_of(workshop, job_id)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "gallery_empty")


def test_photos_that_were_all_deleted_meanwhile_make_no_model(
    workshop: Workshop, user_id: str, images: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    judged(monkeypatch, accepted=True)
    adapt = adaptation.personalize

    def delete_then_end(*arguments: object, **options: object) -> Personalization:
        with workshop.database.write() as session:
            session.execute(delete(Image).where(Image.user_id == user_id))
        return adapt(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(adaptation, "personalize", delete_then_end)
    job_id = add_adaptation(workshop, user_id)
    run(workshop, job_id, adapt_gallery)
    job = job_of(workshop, job_id)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "gallery_empty")
    assert models_of(workshop, user_id) == []


def test_a_segmentation_waits_for_its_adaptation_and_is_rung_after_it(workshop: Workshop, user_id: str, images: list[str]) -> None:
    adaptation_id = add_adaptation(workshop, user_id)
    job_id = add_segmentation(workshop, user_id, images[:1], depends_on=adaptation_id)
    run(workshop, job_id, segment_photos)
    assert job_of(workshop, job_id).status == JobStatus.QUEUED

    def fail(_workshop: Workshop, _held: object) -> None:
        raise OSError("disk full")

    run(workshop, adaptation_id, fail)
    ring_dependents(workshop, adaptation_id)
    client = make_broker(workshop.settings.redis_url).client
    assert client.llen("dramatiq:segmentation") == 1
    run(workshop, job_id, segment_photos)
    assert job_of(workshop, job_id).status == JobStatus.SUCCEEDED


def test_the_sweeper_rings_for_forgotten_jobs_once(workshop: Workshop, user_id: str) -> None:
    broker = make_broker(workshop.settings.redis_url)
    add_adaptation(workshop, user_id)
    assert sweep(workshop, broker) == 0
    with workshop.database.write() as session:
        jobs.forget_rings(session)
    assert sweep(workshop, broker) == 1
    assert sweep(workshop, broker) == 0
    assert broker.client.llen("dramatiq:adaptation") == 1
    queue.ping(workshop.settings.redis_url)


def test_a_worker_registers_itself_and_its_bases(workshop: Workshop) -> None:
    register(workshop, [JobKind.ADAPTATION])
    beat(workshop, [JobKind.ADAPTATION])
    with workshop.database.read() as session:
        (worker,) = session.scalars(select(Worker)).all()
        bases = {base.name: base for base in session.scalars(select(RegisteredBase))}
    assert (worker.id, worker.queues, worker.device) == (workshop.worker_id, ["adaptation"], "cpu")
    assert bases[BASE].is_default
    assert bases[BASE].classes[15] == {"id": 15, "name": "person", "color": [192, 128, 128]}
    unregister(workshop)
    with workshop.database.read() as session:
        assert session.scalars(select(Worker)).all() == []


def test_a_long_segmentation_gives_way_after_its_turn_and_goes_on_from_there(workshop: Workshop, user_id: str, images: list[str]) -> None:
    hurried = replace(workshop, settings=workshop.settings.model_copy(update={"segmentation_turn_seconds": 0.6}))
    long = add_segmentation(hurried, user_id, images)
    other = add_user(hurried)
    short = add_segmentation(hurried, other, [add_photo(hurried, other, photograph("chelsea.png"))])

    def slowly(workshop: Workshop, held: HeldJob) -> None:
        held._started_at -= 60.0  # as though its turn were long over
        held._looked_for_others_at -= 60.0
        segment_photos(workshop, held)

    assert run_next(hurried, JobKind.SEGMENTATION, slowly) == long
    job = job_of(hurried, long)
    assert (job.status, job.attempt, job.eta_seconds) == (JobStatus.QUEUED, 0, None)
    done_first = {image for image, item in items_of(hurried, long).items() if item.status == ItemStatus.DONE}
    assert len(done_first) == 1
    made_first = {mask.image_id: mask.id for mask in masks_of(hurried, user_id)}
    broker = make_broker(hurried.settings.redis_url)
    assert broker.client.llen("dramatiq:segmentation") == 1  # it has rung for itself
    assert run_next(hurried, JobKind.SEGMENTATION, slowly) == short
    assert job_of(hurried, short).status == JobStatus.SUCCEEDED
    assert run_next(hurried, JobKind.SEGMENTATION, slowly) == long  # nobody waits now: it goes to its end
    job = job_of(hurried, long)
    assert (job.status, job.attempt, job.report) == (JobStatus.SUCCEEDED, 1, {"photos": 3, "done": 3, "failed": 0, "model_version": 0})
    assert made_first.items() <= {mask.image_id: mask.id for mask in masks_of(hurried, user_id)}.items()
    assert run_next(hurried, JobKind.SEGMENTATION, slowly) is None


def test_any_ring_takes_the_job_whose_turn_it_is(workshop: Workshop, user_id: str, images: list[str]) -> None:
    first = add_segmentation(workshop, user_id, images[:1])
    add_segmentation(workshop, user_id, images[:1])
    other = add_user(workshop)
    of_other = add_segmentation(workshop, other, [add_photo(workshop, other, photograph("chelsea.png"))])
    assert run_next(workshop, JobKind.SEGMENTATION, segment_photos) == first
    assert run_next(workshop, JobKind.SEGMENTATION, segment_photos) == of_other


def add_user(workshop: Workshop) -> str:
    with workshop.database.write() as session:
        user = User()
        session.add(user)
    return user.id
