"""The job row's life: queued → running (lease, attempt, progress) → succeeded | refused | failed | cancelled.

No function here commits: the caller's transaction (`with database.write() as session:`) is the unit, so that a worker
can save its result and close the job at once. Each change is one UPDATE whose WHERE holds the state it relies on, so
that of two racing processes one finds nothing to change. Everything that a worker writes carries the fencing token of
its lease: after another process took the job over, the late writer gets `LeaseLost` and writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, exists, false, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from app.clock import is_settled, utc_now
from app.errors import LeaseLost
from app.tables import ACTIVE_STATUSES, Job, JobKind, JobStatus

MAX_ATTEMPTS = 3
RING_AGAIN_SECONDS = 15.0
LONGEST_LEASE_SECONDS = 600.0
MOST_SPANS = 32
"""Lines of a timeline; of a job that has come to its stages more often, the earliest of them are forgotten."""
ENOUGH_UNHEARD = 200
"""With so many rings of a kind still unheard, ringing again would only fill Redis."""
_MOST_RINGS = dict.fromkeys(JobKind, ENOUGH_UNHEARD)
ENDED_STATUSES = tuple(status for status in JobStatus if status not in ACTIVE_STATUSES)


@dataclass(frozen=True)
class Lease:
    """The right to work on one job until `expires_at`; `token` is the fencing token."""

    job_id: str
    owner: str
    token: int
    expires_at: datetime
    lease_seconds: float


@dataclass(frozen=True)
class Heartbeat:
    """What a heartbeat learnt: whether the lease still holds, and whether somebody wants the job to stop."""

    alive: bool
    cancel_requested: bool


@dataclass(frozen=True, order=True)
class Due:
    """A job that a worker should be told of."""

    job_id: str
    kind: JobKind


@dataclass(frozen=True)
class Closed:
    """A job that was closed because no worker will: how it ended, with the code of a failed one."""

    job_id: str
    kind: JobKind
    status: JobStatus
    error_code: str | None


def queue_adaptation(session: Session, user_id: str, *, base: str, named: str | None, budget_seconds: float, seed: int = 0) -> Job:
    """A new one; `base` is what it adapts, `named` whether somebody asked for that. Raises IntegrityError beside another of the user."""
    request = {"budget_seconds": budget_seconds, "seed": seed, "base": named}
    job = Job(user_id=user_id, kind=JobKind.ADAPTATION, base=base, request=request)
    session.add(job)
    session.flush()
    return job


def claim(session: Session, job_id: str, owner: str, lease_seconds: float) -> Lease | None:
    """Take a queued job, or one whose lease has expired; None when it is not to be had.

    Counts the attempt before any computing.
    """
    now = utc_now()
    expires_at = now + timedelta(seconds=lease_seconds)
    statement = (
        update(Job)
        .where(Job.id == job_id, claimable(now))
        .values(
            status=JobStatus.RUNNING,
            attempt=Job.attempt + 1,
            lease_owner=owner,
            lease_token=Job.lease_token + 1,
            lease_expires_at=expires_at,
            served_at=now,
            rung_at=None,  # heard; should the lease run out, it is time to ring again
            started_at=func.coalesce(Job.started_at, now, type_=Job.started_at.type),
            revision=Job.revision + 1,
        )
        .returning(Job.lease_token)
    )
    token = session.execute(statement, execution_options=_DIRECT).scalar_one_or_none()
    return None if token is None else Lease(job_id, owner, token, expires_at, lease_seconds)


def heartbeat(session: Session, lease: Lease) -> Heartbeat:
    """Hold the lease for another `lease_seconds`; never raises for a lost one."""
    statement = (
        update(Job)
        .where(_held(lease))
        .values(lease_expires_at=utc_now() + timedelta(seconds=lease.lease_seconds))
        .returning(Job.cancel_requested)
    )
    cancel_requested = session.execute(statement, execution_options=_DIRECT).scalar_one_or_none()
    return Heartbeat(alive=cancel_requested is not None, cancel_requested=bool(cancel_requested))


def report_progress(
    session: Session, lease: Lease, *, stage: str, step: int, steps: int, percent: float, eta_seconds: float | None
) -> None:
    """Write where the job is; `percent` (0–100) never falls, and a new stage opens a line of the timeline."""
    bounded = min(100.0, max(0.0, percent))
    _write(
        session,
        lease,
        stage=stage,
        step=step,
        steps=steps,
        percent=case((Job.percent > bounded, Job.percent), else_=bounded),
        eta_seconds=eta_seconds,
        timeline=_with_stage(_timeline(session, lease), stage, utc_now()),
    )


def pin_model_version(session: Session, lease: Lease, version: int, *, base: str | None = None) -> None:
    """Write which model this job uses or made; 0 is the base. `base`: of that model, where it is not the job's so far."""
    _write(session, lease, model_version=version, **({} if base is None else {"base": base}))


def succeed(session: Session, lease: Lease, *, report: dict[str, Any] | None = None, model_version: int | None = None) -> None:
    """Close the job as done."""
    pinned = {} if model_version is None else {"model_version": model_version}
    _finish(session, lease, JobStatus.SUCCEEDED, report=report, percent=100.0, step=Job.steps, **pinned)


def refuse(session: Session, lease: Lease, *, code: str, reason: str, report: dict[str, Any] | None = None) -> None:
    """Close an adaptation whose guard kept the base; `reason` is a sentence for the user."""
    _finish(session, lease, JobStatus.REFUSED, error_code=code, error_reason=reason, report=report, percent=100.0)


def fail(session: Session, lease: Lease, *, code: str, reason: str, report: dict[str, Any] | None = None) -> None:
    """Close the job as failed; `reason` is a sentence for the user."""
    _finish(session, lease, JobStatus.FAILED, error_code=code, error_reason=reason, report=report)


def try_again(session: Session, lease: Lease, *, code: str, reason: str) -> None:
    """Queue the job again after something that passes, or close it as failed when this was its last attempt."""
    attempt = session.scalars(select(Job.attempt).where(_held(lease))).one_or_none()
    if attempt is not None and attempt >= MAX_ATTEMPTS:
        fail(session, lease, code=code, reason=reason)
        return
    _queue_again(session, lease, served_at=utc_now(), rung_at=None)


def cancel(session: Session, lease: Lease) -> None:
    """Close the job because somebody asked for it."""
    _finish(session, lease, JobStatus.CANCELLED)


def hand_back(session: Session, lease: Lease) -> None:
    """Queue the job again because the worker is asked to stop; this does not count as an attempt."""
    _queue_again(session, lease, attempt=Job.attempt - 1, rung_at=None)


def yield_turn(session: Session, lease: Lease) -> None:
    """Queue the job again because others have waited for longer; not an attempt, and what is done stays done."""
    now = utc_now()
    _queue_again(session, lease, attempt=Job.attempt - 1, served_at=now, yielded_at=now, rung_at=now)


def expire_leases_of(session: Session, owner_prefix: str) -> int:
    """End the leases of workers that are known to be dead, so that nobody waits for them to run out; returns how many.

    `owner_prefix` is the beginning of `lease_owner`, which starts with `hostname:pid:`.
    """
    statement = (
        update(Job)
        .where(Job.status == JobStatus.RUNNING, Job.lease_owner.startswith(owner_prefix, autoescape=True))
        .values(lease_expires_at=utc_now() - timedelta(seconds=1), rung_at=None)
        .returning(Job.id)
    )
    return len(session.execute(statement, execution_options=_DIRECT).all())


def forget_rings(session: Session) -> None:
    """Let the sweeper ring for every waiting job at once: Redis has lost what it was told."""
    session.execute(update(Job).where(Job.status.in_(ACTIVE_STATUSES)).values(rung_at=None), execution_options=_DIRECT)


def request_cancel(session: Session, job: Job) -> None:
    """Cancel a queued job at once; ask the worker of a running one to stop. An ended job stays as it is."""
    now = utc_now()
    is_queued = Job.status == JobStatus.QUEUED
    statement = (
        update(Job)
        .where(Job.id == job.id, Job.status.in_(ACTIVE_STATUSES))
        .values(
            cancel_requested=True,
            status=case((is_queued, JobStatus.CANCELLED.value), else_=Job.status),
            finished_at=case((is_queued, now), else_=Job.finished_at),
            revision=Job.revision + 1,
        )
    )
    session.execute(statement, execution_options=_DIRECT)
    session.refresh(job)


def due(
    session: Session, now: datetime, *, ring_again_seconds: float = RING_AGAIN_SECONDS, most: Mapping[JobKind, int] = _MOST_RINGS
) -> list[Due]:
    """The jobs that a worker should be told of: queued ones and expired leases, not told of in the last seconds.

    The oldest of a kind, at most so many as `most` says of either status. Marks them as told in the same transaction, so that two
    sweepers do not ring for one job.
    """
    lately = timedelta(seconds=ring_again_seconds)
    # A ring in the future: the clock has been set back.
    long_ago = or_(Job.rung_at.is_(None), Job.rung_at < now - lately, Job.rung_at > now + lately)
    chosen: list[str] = []
    for kind, limit in most.items():
        for status in ACTIVE_STATUSES if limit > 0 else ():
            # Status by status: an index has these in their order.
            oldest = _free(Job.kind == kind, Job.status == status, claimable(now), long_ago).limit(limit)
            chosen += session.scalars(oldest)
    statement = update(Job).where(Job.id.in_(chosen), claimable(now), long_ago).values(rung_at=now).returning(Job.id, Job.kind)
    return sorted(Due(job_id, JobKind(kind)) for job_id, kind in session.execute(statement, execution_options=_DIRECT))


def _free(*conditions: ColumnElement[bool]) -> Select[str]:
    """The jobs that nobody else has locked, locked in one order: whoever sweeps waits for nobody, so nobody waits in a ring."""
    return select(Job.id).where(*conditions).order_by(Job.id).with_for_update(key_share=True, skip_locked=True)


def close_abandoned(session: Session, now: datetime) -> list[Closed]:
    """Close the jobs without a future: those that have used up their attempts, and those whose cancelling nobody lived to see."""
    nobody_works = or_(expired(now), Job.status == JobStatus.QUEUED)
    closed = {"finished_at": now, "lease_owner": None, "lease_expires_at": None, "revision": Job.revision + 1}
    # A queued one: the cancel request came between the worker's last look and its handing back.
    cancelled = (
        update(Job).where(Job.id.in_(_free(nobody_works, Job.cancel_requested.is_(True)))).values(status=JobStatus.CANCELLED, **closed)
    )
    died = (
        update(Job)
        .where(Job.id.in_(_free(nobody_works, Job.attempt >= MAX_ATTEMPTS)))
        .values(
            status=JobStatus.FAILED,
            error_code="worker_died",
            error_reason=f"The worker stopped without a word {MAX_ATTEMPTS} times while it was on this job.",
            **closed,
        )
    )
    told = (Job.id, Job.kind, Job.status, Job.error_code)
    return [
        Closed(job_id, JobKind(kind), JobStatus(status), code)
        for statement in (cancelled, died)
        for job_id, kind, status, code in session.execute(statement.returning(*told), execution_options=_DIRECT)
    ]


def dependents(session: Session, job_id: str) -> list[Due]:
    """The queued jobs that waited for this one; ring for them when it has ended."""
    statement = select(Job.id, Job.kind).where(Job.depends_on == job_id, Job.status == JobStatus.QUEUED)
    return sorted(Due(job_id, JobKind(kind)) for job_id, kind in session.execute(statement))


# The rows are changed in the database only; objects that the session holds are refreshed by whoever needs them.
_DIRECT = {"synchronize_session": False}


def claimable(now: datetime) -> ColumnElement[bool]:
    """Whether `claim` would take the job: queued or abandoned, with attempts left, and nothing that must end first."""
    return and_(
        or_(Job.status == JobStatus.QUEUED, expired(now)),
        Job.attempt < MAX_ATTEMPTS,
        Job.cancel_requested.is_(False),
        ~_waits_for_another(),
    )


def expired(now: datetime) -> ColumnElement[bool]:
    """Whether the job's worker has been silent for longer than its lease.

    Nothing expires just after the wall clock was set: first every living worker renews its lease. An end further away
    than any lease lasts was written by a clock that has been set back since.
    """
    if not is_settled():
        return false()
    never_renewed = Job.lease_expires_at > now + timedelta(seconds=LONGEST_LEASE_SECONDS)
    return and_(Job.status == JobStatus.RUNNING, or_(Job.lease_expires_at < now, never_renewed))


def _waits_for_another() -> ColumnElement[bool]:
    first = aliased(Job)
    return exists().where(first.id == Job.depends_on, first.status.in_(ACTIVE_STATUSES)).correlate(Job)


def _held(lease: Lease) -> ColumnElement[bool]:
    return and_(
        Job.id == lease.job_id,
        Job.status == JobStatus.RUNNING,
        Job.lease_token == lease.token,
        Job.lease_owner == lease.owner,
    )


def _write(session: Session, lease: Lease, **values: Any) -> None:
    statement = update(Job).where(_held(lease)).values(revision=Job.revision + 1, **values).returning(Job.id)
    if session.execute(statement, execution_options=_DIRECT).scalar_one_or_none() is None:
        raise LeaseLost(lease.job_id)


def _queue_again(session: Session, lease: Lease, **values: Any) -> None:
    _write(
        session,
        lease,
        status=JobStatus.QUEUED,
        eta_seconds=None,
        lease_owner=None,
        lease_expires_at=None,
        # While it waits nobody works on it.
        timeline=_with_last_closed(_timeline(session, lease), utc_now()),
        **values,
    )


def _finish(session: Session, lease: Lease, status: JobStatus, **values: Any) -> None:
    now = utc_now()
    _write(
        session,
        lease,
        status=status,
        finished_at=now,
        served_at=now,
        eta_seconds=None,
        lease_owner=None,
        lease_expires_at=None,
        timeline=_with_last_closed(_timeline(session, lease), now),
        **values,
    )


def _timeline(session: Session, lease: Lease) -> list[dict[str, Any]]:
    held: list[dict[str, Any]] | None = session.scalars(select(Job.timeline).where(_held(lease))).one_or_none()
    if held is None:
        raise LeaseLost(lease.job_id)
    return held


def _with_stage(timeline: list[dict[str, Any]], stage: str, now: datetime) -> list[dict[str, Any]]:
    if timeline and timeline[-1]["stage"] == stage and timeline[-1]["finished_at"] is None:
        return timeline
    opened = {"stage": stage, "started_at": now.isoformat(), "finished_at": None}
    return [*_bounded(_with_last_closed(timeline, now)), opened]


def _bounded(timeline: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Room for one more: the oldest spans whose stage has come again go, because a long segmentation has hundreds of turns."""
    kept = list(timeline)
    while len(kept) >= MOST_SPANS:
        stages = [span["stage"] for span in kept]
        came_again = next((place for place, stage in enumerate(stages) if stage in stages[place + 1 :]), None)
        if came_again is None:
            break
        del kept[came_again]
    return kept


def _with_last_closed(timeline: list[dict[str, Any]], now: datetime) -> list[dict[str, Any]]:
    if not timeline or timeline[-1]["finished_at"] is not None:
        return timeline
    return [*timeline[:-1], {**timeline[-1], "finished_at": now.isoformat()}]
