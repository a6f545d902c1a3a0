"""The job row's life, on both databases."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import jobs, turns
from app.clock import utc_now
from app.db import Database
from app.errors import LeaseLost
from app.jobs import Lease
from app.tables import Job, JobKind, JobStatus, User

BOTH_DATABASES = True

LEASE_SECONDS = 30.0


def make_user(database: Database) -> str:
    with database.write() as session:
        user = User()
        session.add(user)
    return user.id


def make_job(database: Database, user_id: str, kind: JobKind = JobKind.SEGMENTATION, depends_on: str | None = None) -> str:
    with database.write() as session:
        job = Job(user_id=user_id, kind=kind, request={}, base="espnetv2", depends_on=depends_on)
        session.add(job)
    return job.id


def claim(database: Database, job_id: str, owner: str = "one") -> Lease | None:
    with database.write() as session:
        return jobs.claim(session, job_id, owner, LEASE_SECONDS)


def close_abandoned(database: Database) -> list[jobs.Closed]:
    with database.write() as session:
        return jobs.close_abandoned(session, utc_now())


def must_claim(database: Database, job_id: str, owner: str = "one") -> Lease:
    lease = claim(database, job_id, owner)
    assert lease is not None
    return lease


def expire(database: Database, job_id: str) -> None:
    with database.write() as session:
        past = utc_now() - timedelta(seconds=1)
        session.execute(update(Job).where(Job.id == job_id).values(lease_expires_at=past))


def job_of(database: Database, job_id: str) -> Job:
    with database.read() as session:
        return session.get_one(Job, job_id)


@pytest.fixture
def job_id(database: Database) -> str:
    return make_job(database, make_user(database))


def test_a_claimed_job_runs_and_cannot_be_claimed_again(database: Database, job_id: str) -> None:
    lease = must_claim(database, job_id)
    job = job_of(database, job_id)
    assert (job.status, job.attempt, job.lease_owner, job.lease_token) == ("running", 1, "one", lease.token)
    assert job.started_at is not None and job.started_at.utcoffset() == timedelta(0)
    assert claim(database, job_id, "two") is None


def test_of_many_racing_claims_one_wins(database: Database) -> None:
    user_id = make_user(database)
    for _ in range(5):
        job_id = make_job(database, user_id)
        start = threading.Barrier(6)
        won: list[Lease | None] = []

        def race(owner: str, job_id: str = job_id, start: threading.Barrier = start) -> None:
            start.wait()
            won.append(claim(database, job_id, owner))  # noqa: B023

        threads = [threading.Thread(target=race, args=(f"w{index}",)) for index in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 6 and sum(lease is not None for lease in won) == 1
        assert job_of(database, job_id).attempt == 1


@pytest.mark.parametrize("future", ["last_attempt", "cancel_requested"])
def test_a_sweeper_leaves_a_job_to_the_worker_whose_lease_holds(database: Database, job_id: str, future: str) -> None:
    lease = must_claim(database, job_id)
    with database.write() as session:
        job = session.get_one(Job, job_id)
        if future == "last_attempt":
            job.attempt = jobs.MAX_ATTEMPTS
        else:
            jobs.request_cancel(session, job)
    with database.write() as session:
        assert jobs.due(session, utc_now()) == []
    job = job_of(database, job_id)
    assert (job.status, job.error_code, job.finished_at, job.lease_owner) == (JobStatus.RUNNING, None, None, "one")
    with database.write() as session:
        assert jobs.heartbeat(session, lease).alive
        jobs.succeed(session, lease)


def test_an_expired_lease_is_taken_over_and_the_late_writer_is_refused(database: Database, job_id: str) -> None:
    late = must_claim(database, job_id, "one")
    expire(database, job_id)
    new = must_claim(database, job_id, "two")
    assert new.token == late.token + 1
    for write in (
        lambda s: jobs.succeed(s, late),
        lambda s: jobs.fail(s, late, code="x", reason="y"),
        lambda s: jobs.cancel(s, late),
        lambda s: jobs.hand_back(s, late),
        lambda s: jobs.pin_model_version(s, late, 1),
        lambda s: jobs.report_progress(s, late, stage="x", step=1, steps=2, percent=1, eta_seconds=None),
    ):
        with pytest.raises(LeaseLost), database.write() as session:
            write(session)
    with database.write() as session:
        assert jobs.heartbeat(session, late).alive is False
        assert jobs.heartbeat(session, new).alive is True
    assert job_of(database, job_id).lease_owner == "two"


def test_a_heartbeat_holds_the_lease(database: Database, job_id: str) -> None:
    lease = must_claim(database, job_id)
    expire(database, job_id)
    with database.write() as session:
        assert jobs.heartbeat(session, lease) == jobs.Heartbeat(alive=True, cancel_requested=False)
    assert claim(database, job_id, "two") is None


def test_what_was_written_in_a_lost_lease_transaction_is_rolled_back(database: Database, job_id: str) -> None:
    late = must_claim(database, job_id)
    expire(database, job_id)
    must_claim(database, job_id, "two")
    with pytest.raises(LeaseLost), database.write() as session:
        session.add(User(external_id="written by a late worker"))
        session.flush()
        jobs.succeed(session, late)
    with database.read() as session:
        assert session.query(User).filter_by(external_id="written by a late worker").count() == 0


def test_a_job_that_kills_its_worker_three_times_fails(database: Database, job_id: str) -> None:
    for attempt in range(1, jobs.MAX_ATTEMPTS + 1):
        must_claim(database, job_id)
        assert job_of(database, job_id).attempt == attempt
        expire(database, job_id)
    assert claim(database, job_id) is None
    assert close_abandoned(database) == [jobs.Closed(job_id, JobKind.SEGMENTATION, JobStatus.FAILED, "worker_died")]
    assert close_abandoned(database) == []
    job = job_of(database, job_id)
    assert (job.status, job.error_code) == ("failed", "worker_died")
    assert job.finished_at is not None and job.lease_owner is None


def test_handing_back_queues_again_and_does_not_count(database: Database, job_id: str) -> None:
    for _ in range(jobs.MAX_ATTEMPTS + 2):
        lease = must_claim(database, job_id)
        with database.write() as session:
            jobs.hand_back(session, lease)
    job = job_of(database, job_id)
    assert (job.status, job.attempt, job.lease_owner) == ("queued", 0, None)


def test_percent_never_falls_and_the_timeline_has_each_stage(database: Database, job_id: str) -> None:
    lease = must_claim(database, job_id)
    for stage, percent in (("grouping", 10.0), ("grouping", 40.0), ("training", 25.0), ("training", 300.0)):
        with database.write() as session:
            jobs.report_progress(session, lease, stage=stage, step=1, steps=4, percent=percent, eta_seconds=5.0)
        seen = job_of(database, job_id).percent
        assert seen == {10.0: 10.0, 40.0: 40.0, 25.0: 40.0, 300.0: 100.0}[percent]
    with database.write() as session:
        jobs.succeed(session, lease, report={"figures": 1}, model_version=7)
    job = job_of(database, job_id)
    assert [span["stage"] for span in job.timeline] == ["grouping", "training"]
    assert all(span["finished_at"] for span in job.timeline)
    assert (job.status, job.report, job.model_version, job.eta_seconds) == ("succeeded", {"figures": 1}, 7, None)


def report_stage(database: Database, lease: Lease, stage: str) -> None:
    with database.write() as session:
        jobs.report_progress(session, lease, stage=stage, step=1, steps=4, percent=0.0, eta_seconds=None)


@pytest.mark.parametrize("leave", [jobs.yield_turn, jobs.hand_back])
def test_a_job_that_waits_for_its_turn_has_no_stage_that_goes_on(
    database: Database, job_id: str, leave: Callable[[Session, Lease], None]
) -> None:
    lease = must_claim(database, job_id)
    report_stage(database, lease, "segmenting")
    with database.write() as session:
        leave(session, lease)
    (span,) = job_of(database, job_id).timeline
    assert span["finished_at"] is not None
    report_stage(database, must_claim(database, job_id), "segmenting")
    first, second = job_of(database, job_id).timeline
    assert first == span and second["started_at"] > span["finished_at"] and second["finished_at"] is None


def test_the_timeline_of_many_turns_stays_short(database: Database, job_id: str) -> None:
    for turn in range(30):
        lease = must_claim(database, job_id)
        for stage in ("fetching", "loading", "segmenting") if turn == 0 else ("loading", "segmenting"):
            report_stage(database, lease, stage)
        with database.write() as session:
            jobs.yield_turn(session, lease)
    timeline = job_of(database, job_id).timeline
    turns_told = (jobs.MOST_SPANS - 2) // 2
    assert len(timeline) <= jobs.MOST_SPANS
    # What was once stays; of what came again, the last.
    assert timeline[0]["stage"] == "fetching"
    assert [span["stage"] for span in timeline][-2 * turns_told :] == ["loading", "segmenting"] * turns_told
    times = [moment for span in timeline for moment in (span["started_at"], span["finished_at"])]
    assert times == sorted(times)


def test_every_write_grows_the_revision(database: Database, job_id: str) -> None:
    lease = must_claim(database, job_id)
    before = job_of(database, job_id).revision
    with database.write() as session:
        jobs.report_progress(session, lease, stage="a", step=1, steps=2, percent=1, eta_seconds=None)
    assert job_of(database, job_id).revision == before + 1


@pytest.mark.parametrize("end", ["refuse", "fail"])
def test_a_bad_end_carries_code_and_reason(database: Database, job_id: str, end: str) -> None:
    lease = must_claim(database, job_id)
    with database.write() as session:
        getattr(jobs, end)(session, lease, code="why", reason="Because.", report={"a": 1})
    job = job_of(database, job_id)
    assert (job.status, job.error_code, job.error_reason, job.report) == (
        {"refuse": "refused", "fail": "failed"}[end],
        "why",
        "Because.",
        {"a": 1},
    )


def test_cancelling_a_queued_job_ends_it_and_a_running_one_is_asked(database: Database) -> None:
    user_id = make_user(database)
    queued, running, ended = (make_job(database, user_id) for _ in range(3))
    lease = must_claim(database, running)
    with database.write() as session:
        jobs.succeed(session, must_claim_in(session, ended))
    for job_id in (queued, running, ended):
        with database.write() as session:
            jobs.request_cancel(session, session.get_one(Job, job_id))
    assert job_of(database, queued).status == JobStatus.CANCELLED
    assert job_of(database, queued).finished_at is not None
    assert claim(database, queued) is None
    assert job_of(database, running).status == JobStatus.RUNNING
    assert job_of(database, ended).status == JobStatus.SUCCEEDED
    with database.write() as session:
        assert jobs.heartbeat(session, lease).cancel_requested is True
        jobs.cancel(session, lease)
    assert job_of(database, running).status == JobStatus.CANCELLED


def must_claim_in(session: object, job_id: str) -> Lease:
    lease = jobs.claim(session, job_id, "one", LEASE_SECONDS)  # type: ignore[arg-type]
    assert lease is not None
    return lease


def test_a_cancelled_job_whose_worker_died_ends_cancelled(database: Database, job_id: str) -> None:
    must_claim(database, job_id)
    with database.write() as session:
        jobs.request_cancel(session, session.get_one(Job, job_id))
    expire(database, job_id)
    with database.write() as session:
        assert jobs.due(session, utc_now()) == []
    assert close_abandoned(database) == [jobs.Closed(job_id, JobKind.SEGMENTATION, JobStatus.CANCELLED, None)]
    assert job_of(database, job_id).status == JobStatus.CANCELLED


def test_the_queue_position_counts_those_ahead_of_the_same_kind(database: Database) -> None:
    user_id = make_user(database)
    make_job(database, user_id, JobKind.ADAPTATION)
    first, second, third = (make_job(database, user_id) for _ in range(3))

    def position(job_id: str) -> int | None:
        with database.read() as session:
            return turns.Places(session, user_id, JobKind.SEGMENTATION).of(session.get_one(Job, job_id))

    assert [position(job_id) for job_id in (first, second, third)] == [1, 2, 3]
    must_claim(database, first)
    assert [position(job_id) for job_id in (first, second, third)] == [None, 1, 2]


def test_due_gives_queued_and_expired_jobs_once_until_it_is_time_to_ring_again(database: Database) -> None:
    user_id = make_user(database)
    queued, running, expired = (make_job(database, user_id) for _ in range(3))
    must_claim(database, running)
    must_claim(database, expired)
    expire(database, expired)
    later = utc_now() + timedelta(seconds=jobs.RING_AGAIN_SECONDS + 1)

    def due(seconds: float) -> list[str]:
        with database.write() as session:
            return [entry.job_id for entry in jobs.due(session, later + timedelta(seconds=seconds))]

    with database.write() as session:
        # `later` is past the lease of the running job too, unless its worker beats.
        session.execute(update(Job).where(Job.id == running).values(lease_expires_at=later + timedelta(minutes=5)))
        # The others were rung for when they were made; this one's ring was heard, and then its worker fell silent.
        assert [entry.job_id for entry in jobs.due(session, utc_now())] == [expired]
    assert due(0) == [queued, expired]
    assert due(1) == []
    assert due(jobs.RING_AGAIN_SECONDS + 1) == [queued, expired]


@pytest.mark.parametrize("leave", [jobs.hand_back, jobs.yield_turn])
def test_a_cancel_that_comes_while_the_job_is_handed_back_is_not_forgotten(database: Database, job_id: str, leave: object) -> None:
    lease = must_claim(database, job_id)
    with database.write() as session:
        jobs.request_cancel(session, session.get_one(Job, job_id))
        leave(session, lease)  # type: ignore[operator]
    close_abandoned(database)
    assert job_of(database, job_id).status == JobStatus.CANCELLED


def test_a_handed_back_job_is_due_at_once(database: Database, job_id: str) -> None:
    lease = must_claim(database, job_id)
    with database.write() as session:
        jobs.hand_back(session, lease)
        assert jobs.due(session, utc_now()) == [jobs.Due(job_id, JobKind.SEGMENTATION)]


@pytest.mark.parametrize("ending", ["succeed", "fail", "cancel"])
def test_a_job_waits_for_the_one_it_depends_on(database: Database, ending: str) -> None:
    user_id = make_user(database)
    first = make_job(database, user_id, JobKind.ADAPTATION)
    second = make_job(database, user_id, depends_on=first)
    assert claim(database, second) is None
    lease = must_claim(database, first)
    assert claim(database, second) is None
    with database.write() as session:
        options = {"code": "a", "reason": "b"} if ending == "fail" else {}
        getattr(jobs, ending)(session, lease, **options)
        assert jobs.dependents(session, first) == [jobs.Due(second, JobKind.SEGMENTATION)]
    must_claim(database, second)


def test_the_database_allows_one_active_adaptation_per_user(database: Database) -> None:
    user_id, other = make_user(database), make_user(database)
    first = make_job(database, user_id, JobKind.ADAPTATION)
    make_job(database, other, JobKind.ADAPTATION)
    with pytest.raises(IntegrityError):
        make_job(database, user_id, JobKind.ADAPTATION)
    lease = must_claim(database, first)
    with pytest.raises(IntegrityError):
        make_job(database, user_id, JobKind.ADAPTATION)
    with database.write() as session:
        jobs.succeed(session, lease)
    make_job(database, user_id, JobKind.ADAPTATION)


def test_an_erased_job_is_a_lost_lease(database: Database, job_id: str) -> None:
    lease = must_claim(database, job_id)
    with database.write() as session:
        session.delete(session.get_one(Job, job_id))
    with pytest.raises(LeaseLost), database.write() as session:
        jobs.succeed(session, lease)
