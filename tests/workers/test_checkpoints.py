"""An adaptation taken over goes on from its checkpoint, whoever had it before and however it ended."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import update

from app import jobs
from app.storage import checkpoint_key, checkpoints_prefix, user_prefix
from app.sweeping.service import sweep_storage
from app.tables import Job, JobStatus, User
from models import Personalization, PersonalizeConfig, Progress
from models import resume as resuming
from tests.workers.conftest import add_adaptation, add_photo, job_of, photograph
from workers import adaptation
from workers.adaptation import adapt_gallery
from workers.checkpoints import JobCheckpoints, forget_checkpoints
from workers.lease import HeldJob, hold
from workers.tasks import run
from workers.workshop import Workshop

PHOTOGRAPHS = ("chelsea.png", "astronaut.png", "coffee.png")


@pytest.fixture
def images(workshop: Workshop, user_id: str) -> list[str]:
    return [add_photo(workshop, user_id, photograph(name, 64)) for name in PHOTOGRAPHS]


class Killed(BaseException):
    """Ends the work as SIGKILL does: nothing is closed, nothing is cleaned up."""


class Method:
    """The real method, with few steps, saved at every one; it can be interfered with, and tells what came of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.results: list[Personalization] = []
        self.ids: list[tuple[str, ...]] = []
        self.heard: list[Progress] = []
        self.at: dict[str, Any] = {}
        """Stage → what to do at its first step, once."""
        self._real = adaptation.personalize
        monkeypatch.setattr(adaptation, "personalize", self._run)
        monkeypatch.setattr(resuming, "EVERY_SECONDS", 0.0)
        monkeypatch.setattr(resuming, "SHARE_OF_TIME", float("inf"))

    def _run(self, base: object, photos: Any, config: PersonalizeConfig, *, on_progress: Any, **callbacks: Any) -> Personalization:
        def hear(progress: Progress) -> None:
            self.heard.append(progress)
            if action := self.at.pop(progress.stage, None):
                action()
            on_progress(progress)

        self.ids.append(tuple(photos.ids))
        quick = replace(config, epochs=1, runs=1, scales=(1.0,), guard_photos=2, appearance=False)
        self.results.append(self._real(base, photos, quick, on_progress=hear, **callbacks))  # type: ignore[arg-type]
        return self.results[-1]


@pytest.fixture
def method(monkeypatch: pytest.MonkeyPatch) -> Method:
    return Method(monkeypatch)


def kill() -> None:
    raise Killed


def die_and_expire(workshop: Workshop, job_id: str) -> None:
    with pytest.raises(Killed):
        run(workshop, job_id, adapt_gallery)
    expire(workshop, job_id)


def expire(workshop: Workshop, job_id: str) -> None:
    with workshop.database.write() as session:
        jobs.expire_leases_of(session, workshop.owner)
    assert job_of(workshop, job_id).status == JobStatus.RUNNING


def kept(workshop: Workshop, user_id: str, job_id: str) -> list[str]:
    return workshop.storage.keys(checkpoints_prefix(user_id, job_id))


def test_a_killed_adaptation_is_gone_on_with(workshop: Workshop, user_id: str, images: list[str], method: Method) -> None:
    unbroken = add_adaptation(workshop, user_id)
    run(workshop, unbroken, adapt_gallery)

    job_id = add_adaptation(workshop, user_id)
    method.at = {"training": kill}
    die_and_expire(workshop, job_id)
    assert kept(workshop, user_id, job_id) == [checkpoint_key(user_id, job_id, 1)]
    before, percent = len(method.heard), job_of(workshop, job_id).percent
    late = add_photo(workshop, user_id, photograph("rocket.jpg", 64))
    run(workshop, job_id, adapt_gallery)

    job = job_of(workshop, job_id)
    assert job.status == job_of(workshop, unbroken).status
    assert job.attempt == 2
    assert job.percent >= percent
    assert job.report is not None
    assert job.report["checkpoint"]["resumed_from"] == "training"
    assert {progress.stage for progress in method.heard[before:]} <= {"training", "checking"}
    first, second = method.results
    assert first.candidate is not None and second.candidate is not None
    assert second.candidate.stored == first.candidate.stored
    assert late not in method.ids[-1], "what is uploaded during the job is for the next one"
    assert method.ids[-1] == method.ids[0]
    assert [line["stage"] for line in job.timeline].count("loading") == 1, "the gallery was read once, by the first attempt"
    assert "resuming" in [line["stage"] for line in job.timeline]
    assert kept(workshop, user_id, job_id) == []


def test_a_handed_back_adaptation_keeps_its_checkpoint(workshop: Workshop, user_id: str, images: list[str], method: Method) -> None:
    job_id = add_adaptation(workshop, user_id)
    method.at = {"labelling": workshop.stopping.set}
    run(workshop, job_id, adapt_gallery)
    assert job_of(workshop, job_id).status == JobStatus.QUEUED
    assert len(kept(workshop, user_id, job_id)) == 1
    workshop.stopping.clear()
    run(workshop, job_id, adapt_gallery)
    job = job_of(workshop, job_id)
    assert job.attempt == 1
    assert job.report is not None
    assert job.report["checkpoint"]["resumed_from"] == "labelling"
    assert kept(workshop, user_id, job_id) == []


def test_a_cancelled_or_failed_adaptation_leaves_no_checkpoint(workshop: Workshop, user_id: str, images: list[str], method: Method) -> None:
    def cancel() -> None:
        with workshop.database.write() as session:
            jobs.request_cancel(session, session.get_one(Job, job_id))
        workshop.stopping.set()  # does not wait for the heartbeat's look

    job_id = add_adaptation(workshop, user_id)
    method.at = {"training": cancel}
    run(workshop, job_id, adapt_gallery)
    assert job_of(workshop, job_id).status == JobStatus.CANCELLED
    assert kept(workshop, user_id, job_id) == []
    workshop.stopping.clear()

    def fail() -> None:
        assert len(kept(workshop, user_id, failing)) == 1
        raise ZeroDivisionError

    failing = add_adaptation(workshop, user_id)
    method.at = {"training": fail}
    run(workshop, failing, adapt_gallery)
    assert job_of(workshop, failing).status == JobStatus.FAILED
    assert kept(workshop, user_id, failing) == []


@pytest.mark.parametrize("data", [b"", b"garbage"])
def test_a_corrupt_checkpoint_costs_nothing_but_time(
    workshop: Workshop, user_id: str, images: list[str], method: Method, data: bytes
) -> None:
    job_id = add_adaptation(workshop, user_id)
    workshop.storage.put_bytes(checkpoint_key(user_id, job_id, 0), data)
    run(workshop, job_id, adapt_gallery)
    job = job_of(workshop, job_id)
    assert job.status in (JobStatus.SUCCEEDED, JobStatus.REFUSED)
    assert job.report is not None
    assert "left aside" in job.report["checkpoint"]["left_aside"]
    assert kept(workshop, user_id, job_id) == []


def test_a_late_writer_leaves_the_newer_checkpoint_alone(workshop: Workshop, user_id: str) -> None:
    job_id = add_adaptation(workshop, user_id)
    with held_anew(workshop, job_id) as late:
        assert late is not None
        older = JobCheckpoints(workshop, late)
        older.save(b"first")
        expire(workshop, job_id)
        with held_anew(workshop, job_id) as now:
            assert now is not None
            newer = JobCheckpoints(workshop, now)
            newer.save(b"second")
            assert kept(workshop, user_id, job_id) == [checkpoint_key(user_id, job_id, 2)], "the older one is removed"
            late._lost.clear()  # it does not know yet
            older.save(b"late")
            assert kept(workshop, user_id, job_id) == [checkpoint_key(user_id, job_id, 2)]
            assert JobCheckpoints(workshop, now).load() == b"second"
            late._lost.set()
            older.save(b"later still")
            assert kept(workshop, user_id, job_id) == [checkpoint_key(user_id, job_id, 2)]


def held_anew(workshop: Workshop, job_id: str) -> Any:
    return hold(workshop.database, workshop.settings, job_id, workshop.owner, workshop.stopping)


def test_a_checkpoint_that_comes_after_the_erasure_is_removed_again(workshop: Workshop, user_id: str) -> None:
    job_id = add_adaptation(workshop, user_id)
    with held_anew(workshop, job_id) as held:
        assert held is not None
        checkpoints = JobCheckpoints(workshop, held)
        with workshop.database.write() as session:
            session.delete(session.get_one(User, user_id))
        checkpoints.save(b"too late")
        assert workshop.storage.keys(user_prefix(user_id)) == []


def test_a_full_disk_costs_the_checkpoint_and_not_the_job(
    workshop: Workshop, user_id: str, images: list[str], method: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = workshop.storage.put_bytes

    def full(key: str, data: bytes) -> None:
        if "/checkpoints/" in key:
            raise OSError(28, "No space left on device")
        real(key, data)

    monkeypatch.setattr(workshop.storage, "put_bytes", full)
    job_id = add_adaptation(workshop, user_id)
    run(workshop, job_id, adapt_gallery)
    assert job_of(workshop, job_id).status in (JobStatus.SUCCEEDED, JobStatus.REFUSED)


def test_the_sweeper_removes_what_nobody_goes_on_with(workshop: Workshop, user_id: str) -> None:
    ended, going_on = add_adaptation(workshop, user_id), None
    with workshop.database.write() as session:
        session.execute(update(Job).where(Job.id == ended).values(status=JobStatus.CANCELLED, lease_token=3))
    going_on = add_adaptation(workshop, user_id)
    with workshop.database.write() as session:
        session.execute(update(Job).where(Job.id == going_on).values(lease_token=2))
    for job_id, token in ((ended, 3), (going_on, 1), (going_on, 2)):
        workshop.storage.put_bytes(checkpoint_key(user_id, job_id, token), b"x")
    sweep_storage(workshop.database, workshop.storage, orphan_seconds=0.0)
    assert kept(workshop, user_id, ended) == []
    assert len(kept(workshop, user_id, going_on)) == 2
    forget_checkpoints(workshop, going_on)
    assert len(kept(workshop, user_id, going_on)) == 2


def test_a_photo_deleted_during_the_adaptation_is_left_out(workshop: Workshop, user_id: str, images: list[str], method: Method) -> None:
    gone = add_photo(workshop, user_id, b"was deleted", store=False)
    broken = add_photo(workshop, user_id, b"not a photo")
    job_id = add_adaptation(workshop, user_id)
    run(workshop, job_id, adapt_gallery)
    job = job_of(workshop, job_id)
    assert job.status in (JobStatus.SUCCEEDED, JobStatus.REFUSED), job.error_reason
    assert job.report is not None
    assert {entry["id"] for entry in job.report["photos_left_out"]} == {gone, broken}
    assert job.report["photos_seen"] == len(images)


def test_what_is_left_to_do_is_estimated_from_this_attempt(workshop: Workshop, user_id: str) -> None:
    """After a resume at 60 %, the next 10 % in 30 s mean another 90 s."""
    job_id = add_adaptation(workshop, user_id)
    with held_anew(workshop, job_id) as held:
        assert isinstance(held, HeldJob)
        held.report("loading", 0, 1, 0.0)
        held.measure_from(0.6)
        held._started_at -= 30.0
        held.report("training", 7, 10, 0.7)
        assert job_of(workshop, job_id).eta_seconds == pytest.approx(90.0, rel=0.05)
