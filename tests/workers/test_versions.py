"""The numbers of a user's models: each is given out once, whatever is dropped, dies or is cancelled."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update

from app import jobs
from app.personal_models import service as personal_models
from app.tables import Image, Job, JobStatus, PersonalModel
from models import Personalization
from tests.workers.conftest import BASE, add_adaptation, add_photo, add_segmentation, job_of, photograph
from tests.workers.test_jobs_done import judged, models_of
from tests.workers.test_lease import within
from workers import adaptation
from workers.adaptation import adapt_gallery
from workers.segmentation import segment_photos
from workers.tasks import run
from workers.workshop import Workshop


class Died(BaseException):
    """As if the process had been killed here."""


@pytest.fixture(autouse=True)
def gallery(workshop: Workshop, user_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("chelsea.png", "coffee.png"):
        add_photo(workshop, user_id, photograph(name, 96))
    judged(monkeypatch, accepted=True)


def model_files(workshop: Workshop, user_id: str) -> list[str]:
    return workshop.storage.keys(f"users/{user_id}/models")


def test_the_number_of_a_dropped_version_is_not_given_out_again(workshop: Workshop, user_id: str) -> None:
    run(workshop, add_adaptation(workshop, user_id), adapt_gallery)
    personal_models.drop(workshop.database, workshop.storage, user_id, 1)
    second = add_adaptation(workshop, user_id)
    run(workshop, second, adapt_gallery)
    assert job_of(workshop, second).model_version == 2
    assert [model.version for model in models_of(workshop, user_id)] == [2]


def test_who_goes_on_after_a_death_before_the_end_makes_the_same_version(
    workshop: Workshop, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_arguments: object) -> None:
        raise Died

    job_id = add_adaptation(workshop, user_id)
    with monkeypatch.context() as patched, pytest.raises(Died):
        patched.setattr(adaptation, "_save_success", die)
        run(workshop, job_id, adapt_gallery)
    assert len(model_files(workshop, user_id)) == 1 and models_of(workshop, user_id) == []
    with workshop.database.write() as session:
        assert jobs.expire_leases_of(session, workshop.owner) == 1
    run(workshop, job_id, adapt_gallery)
    job = job_of(workshop, job_id)
    assert (job.status, job.attempt, job.model_version) == (JobStatus.SUCCEEDED, 2, 1)
    assert [model.version for model in models_of(workshop, user_id)] == [1]


def test_an_adaptation_cancelled_while_the_method_ends_makes_no_version(
    workshop: Workshop, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = add_adaptation(workshop, user_id)
    personalize = adaptation.personalize

    def personalize_and_be_cancelled(*arguments: object, **callbacks: object) -> Personalization:
        result = personalize(*arguments, **callbacks)  # type: ignore[arg-type]
        with workshop.database.write() as session:
            jobs.request_cancel(session, session.get_one(Job, job_id))
        assert within(10.0, callbacks["should_stop"])  # type: ignore[arg-type]
        return result

    monkeypatch.setattr(adaptation, "personalize", personalize_and_be_cancelled)
    run(workshop, job_id, adapt_gallery)
    assert job_of(workshop, job_id).status == JobStatus.CANCELLED
    assert model_files(workshop, user_id) == []
    with workshop.database.read() as session:
        assert session.scalars(select(PersonalModel)).all() == []


def test_a_named_base_is_served_by_its_newest_version_where_another_is_in_use(workshop: Workshop, user_id: str) -> None:
    for _ in range(2):
        run(workshop, add_adaptation(workshop, user_id), adapt_gallery)
    with workshop.database.write() as session:
        image_id = session.scalars(select(Image.id).where(Image.user_id == user_id)).first()
        session.execute(update(PersonalModel).values(active=False))
        facts = {"base": "other", "blob_key": "", "sha256": "", "byte_size": 0, "report": {}}
        session.add(PersonalModel(user_id=user_id, version=3, active=True, **facts))
    assert image_id is not None
    job_id = add_segmentation(workshop, user_id, [image_id])
    with workshop.database.write() as session:
        session.get_one(Job, job_id).request = {"model": "personal", "base": BASE, "adapt": "auto", "all": False}
    run(workshop, job_id, segment_photos)
    job = job_of(workshop, job_id)
    assert (job.status, job.model_version, job.base) == (JobStatus.SUCCEEDED, 2, BASE)
