"""The job row's life when the clock is set, or the database was away."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update

from app import jobs
from app.clock import utc_now
from app.db import Database
from app.tables import Job, JobStatus
from tests.app.test_jobs import LEASE_SECONDS, claim, job_of, make_job, make_user, must_claim

BOTH_DATABASES = True


@pytest.fixture
def job_id(database: Database) -> str:
    return make_job(database, make_user(database))


def shift(database: Database, job_id: str, hours: float) -> None:
    """What the rows look like after the clock was set by so much the other way."""
    by = timedelta(hours=hours)
    with database.write() as session:
        job = session.get_one(Job, job_id)
        values = {"rung_at": (job.rung_at or utc_now()) + by}
        if job.lease_expires_at is not None:
            values["lease_expires_at"] = job.lease_expires_at + by
        session.execute(update(Job).where(Job.id == job_id).values(**values))


def test_just_after_a_jump_no_living_worker_loses_its_job(database: Database, job_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = must_claim(database, job_id)
    shift(database, job_id, -1)
    with monkeypatch.context() as unsettled:
        unsettled.setattr(jobs, "is_settled", lambda: False)
        assert claim(database, job_id, "two") is None
        with database.write() as session:
            assert jobs.due(session, utc_now()) == []
            assert jobs.heartbeat(session, lease).alive
    assert claim(database, job_id, "two") is None


def test_a_queued_job_is_claimed_even_just_after_a_jump(database: Database, job_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "is_settled", lambda: False)
    must_claim(database, job_id)


def test_a_lease_of_a_clock_that_was_set_back_since_is_taken_over(database: Database, job_id: str) -> None:
    must_claim(database, job_id)
    shift(database, job_id, +1)
    with database.write() as session:
        assert [due.job_id for due in jobs.due(session, utc_now())] == [job_id]
    must_claim(database, job_id, "two")


def test_a_ring_of_a_clock_that_was_set_back_since_is_repeated(database: Database, job_id: str) -> None:
    shift(database, job_id, +1)
    with database.write() as session:
        assert [due.job_id for due in jobs.due(session, utc_now())] == [job_id]
        assert jobs.due(session, utc_now()) == []


def test_no_lease_can_be_longer_than_what_is_believed() -> None:
    from pydantic import ValidationError

    from app.settings import Settings

    with pytest.raises(ValidationError):
        Settings(lease_seconds=jobs.LONGEST_LEASE_SECONDS + 1)


def test_what_passes_is_tried_again_and_ends_with_its_own_reason(database: Database, job_id: str) -> None:
    for attempt in (1, 2, 3):
        lease = must_claim(database, job_id)
        assert lease.lease_seconds == LEASE_SECONDS
        with database.write() as session:
            jobs.try_again(session, lease, code="database_error", reason="The database was away.")
        job = job_of(database, job_id)
        assert job.attempt == attempt and job.lease_owner is None
        if attempt < 3:
            assert (job.status, job.error_code, job.finished_at) == (JobStatus.QUEUED, None, None)
            with database.write() as session:
                assert [due.job_id for due in jobs.due(session, utc_now())] == [job_id]
    assert (job.status, job.error_code, job.error_reason) == (JobStatus.FAILED, "database_error", "The database was away.")
    assert job.finished_at is not None
    assert claim(database, job_id) is None
