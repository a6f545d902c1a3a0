"""Holding a job: progress, heartbeat, and the three reasons to stop."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from sqlalchemy import update

from app import jobs
from app.clock import utc_now
from app.errors import LeaseLost
from app.tables import Job, JobStatus
from tests.waiting import within
from tests.workers.conftest import add_adaptation, job_of
from workers import lease
from workers.broker import make_broker
from workers.lease import estimate_remaining, hold
from workers.presence import sweep
from workers.tasks import run
from workers.workshop import Workshop

BOTH_DATABASES = True


@pytest.fixture
def job_id(workshop: Workshop, user_id: str) -> str:
    return add_adaptation(workshop, user_id)


def hold_job(workshop: Workshop, job_id: str, owner: str = "one"):
    return hold(workshop.database, workshop.settings, job_id, owner, workshop.stopping)


def test_a_job_is_held_by_one(workshop: Workshop, job_id: str) -> None:
    with hold_job(workshop, job_id) as held:
        assert held is not None
        with hold_job(workshop, job_id, "two") as second:
            assert second is None


def test_the_lease_is_renewed_while_the_work_is_silent(workshop: Workshop, job_id: str) -> None:
    with hold_job(workshop, job_id) as held:
        assert held is not None
        first = job_of(workshop, job_id).lease_expires_at
        assert within(20.0, lambda: job_of(workshop, job_id).lease_expires_at != first)
        assert not held.should_stop()


@pytest.mark.parametrize(("lease_seconds", "settle_seconds"), [(3.0, 60.0), (300.0, 1.0)])
def test_the_lease_is_renewed_in_time_however_rare_a_heartbeat_was_wished_for(
    workshop: Workshop, job_id: str, monkeypatch: pytest.MonkeyPatch, lease_seconds: float, settle_seconds: float
) -> None:
    """Before it runs out, and before leases may expire again after the clock was set."""
    monkeypatch.setattr(lease, "SETTLE_SECONDS", settle_seconds)
    wished = workshop.settings.model_copy(update={"heartbeat_seconds": 1000.0, "lease_seconds": lease_seconds})
    with hold(workshop.database, wished, job_id, "one", workshop.stopping) as held:
        assert held is not None
        first = job_of(workshop, job_id).lease_expires_at
        assert within(10.0, lambda: job_of(workshop, job_id).lease_expires_at != first)
        assert not held.should_stop()


def test_progress_is_written_at_most_four_times_a_second(workshop: Workshop, job_id: str) -> None:
    with hold_job(workshop, job_id) as held:
        assert held is not None
        before = job_of(workshop, job_id).revision
        started = time.monotonic()
        while time.monotonic() - started < 0.6:
            held.report("training", 1, 10, 0.3)
        job = job_of(workshop, job_id)
    assert 1 <= job.revision - before <= 3
    assert (job.stage, job.step, job.steps, job.percent) == ("training", 1, 10, 30.0)


def test_a_cancel_is_seen_and_closes_the_job(workshop: Workshop, job_id: str) -> None:
    with hold_job(workshop, job_id) as held:
        assert held is not None
        with workshop.database.write() as session:
            jobs.request_cancel(session, session.get_one(Job, job_id))
        assert within(20.0, held.should_stop)
        held.end_early()
    assert job_of(workshop, job_id).status == JobStatus.CANCELLED


def test_a_stopping_worker_hands_its_job_back_without_counting_the_attempt(workshop: Workshop, job_id: str) -> None:
    with hold_job(workshop, job_id) as held:
        assert held is not None
        assert job_of(workshop, job_id).attempt == 1
        workshop.stopping.set()
        assert held.should_stop()
        held.end_early()
    job = job_of(workshop, job_id)
    assert (job.status, job.attempt, job.lease_owner) == (JobStatus.QUEUED, 0, None)


def test_a_late_writer_is_refused(workshop: Workshop, job_id: str) -> None:
    with hold_job(workshop, job_id) as held:
        assert held is not None
        with workshop.database.write() as session:
            past = utc_now() - timedelta(seconds=1)
            session.execute(update(Job).where(Job.id == job_id).values(lease_expires_at=past))
            assert jobs.claim(session, job_id, "two", 60.0) is not None
        assert within(20.0, held.should_stop)
        with pytest.raises(LeaseLost):
            held.report("training", 1, 2, 0.5)
        with pytest.raises(LeaseLost):
            held.end_early()
    assert job_of(workshop, job_id).lease_owner == "two"


def test_a_job_that_kills_its_worker_three_times_is_closed(workshop: Workshop, job_id: str) -> None:
    for attempt in (1, 2, 3):
        with workshop.database.write() as session:
            assert jobs.claim(session, job_id, f"{workshop.owner}-{attempt}", 60.0) is not None
            assert jobs.expire_leases_of(session, f"{workshop.owner}-{attempt}") == 1
    with hold_job(workshop, job_id) as held:
        assert held is None
    sweep(workshop, make_broker(workshop.settings.redis_url))
    job = job_of(workshop, job_id)
    assert (job.status, job.error_code, job.attempt) == (JobStatus.FAILED, "worker_died", 3)


def test_an_error_of_the_work_ends_the_job_with_its_reason(workshop: Workshop, job_id: str) -> None:
    def work(_workshop: Workshop, _held: object) -> None:
        raise MemoryError

    run(workshop, job_id, work)
    job = job_of(workshop, job_id)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "out_of_memory")
    assert "memory" in (job.error_reason or "")


def test_a_ring_for_an_ended_or_unknown_job_does_nothing(workshop: Workshop, job_id: str) -> None:
    def work(_workshop: Workshop, _held: object) -> None:
        raise AssertionError("must not be called")

    with workshop.database.write() as session:
        jobs.request_cancel(session, session.get_one(Job, job_id))
    run(workshop, job_id, work)
    run(workshop, "00000000-0000-7000-8000-000000000000", work)
    assert job_of(workshop, job_id).status == JobStatus.CANCELLED


@pytest.mark.parametrize(
    ("elapsed", "fraction", "expected"),
    [(10.0, 0.5, 10.0), (30.0, 0.75, 10.0), (5.0, 0.0, None), (0.2, 0.5, None), (5.0, 1.0, 0.0), (1e6, 0.011, 86400.0)],
)
def test_the_estimate_follows_the_measured_pace(elapsed: float, fraction: float, expected: float | None) -> None:
    assert estimate_remaining(elapsed, fraction) == expected


def test_the_estimate_does_not_count_what_an_earlier_turn_did() -> None:
    assert estimate_remaining(10.0, 0.6, 0.5) == pytest.approx(40.0)
    assert estimate_remaining(10.0, 0.5, 0.5) is None


@pytest.mark.parametrize(
    ("elapsed", "fraction", "expected"),
    [(5.0, 0.09, 15.0), (5.0, 0.5, 5.0), (19.0, 0.8, 2.0), (30.0, 0.5, 2.0), (30.0, 1.0, 0.0)],
)
def test_the_estimate_keeps_within_what_is_left_of_the_budget(elapsed: float, fraction: float, expected: float) -> None:
    assert estimate_remaining(elapsed, fraction, budget_seconds=20.0) == expected


def test_a_job_tells_no_more_than_its_budget(workshop: Workshop, job_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("workers.lease.time.monotonic", lambda: now)
    with hold_job(workshop, job_id) as held:
        assert held is not None
        held.measure_from(0.0, budget_seconds=20.0)
        now += 5.0
        held.report("looking", 1, 9, 0.09)
        assert job_of(workshop, job_id).eta_seconds == 15.0
