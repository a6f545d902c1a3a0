"""Holding one job: claim, heartbeat from a thread, fencing, the reasons to stop, and throttled progress.

The heartbeat runs in a thread of its own, because the computing thread spends seconds inside C calls. Whoever computes
asks `HeldJob.should_stop` between steps; it turns true when somebody cancelled the job, when this process shall end, or
when the lease is lost.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import structlog
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app import jobs, turns
from app.clock import SETTLE_SECONDS
from app.db import DATABASE_AWAY, Database
from app.errors import LeaseLost
from app.jobs import Lease
from app.settings import Settings
from app.tables import ACTIVE_STATUSES, Job, JobKind, JobStatus

# How soon a cancel request is seen; a read, so it costs no write lock.
_LOOK_SECONDS = 0.5
_SHORTEST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0
_SHORTEST_BETWEEN_REPORTS_SECONDS = 0.25
# Below these an estimate would be noise.
_SMALLEST_FRACTION_FOR_ETA = 0.01
_SHORTEST_ELAPSED_FOR_ETA_SECONDS = 1.0
_LONGEST_ETA_SECONDS = 24 * 3600.0
# Of its budget: so long an adaptation that is past it may still take, with the last photos of the guard.
_OVERTIME_SHARE = 0.1

Result = TypeVar("Result")

log = structlog.get_logger(__name__)


class HeldJob:
    """A claimed job: what the computing thread may ask and tell while it works."""

    def __init__(self, database: Database, lease: Lease, heartbeat_seconds: float, stopping: threading.Event) -> None:
        self.database = database
        self.lease = lease
        self._heartbeat_seconds = min(heartbeat_seconds, lease.lease_seconds / 3, SETTLE_SECONDS / 2)
        self._stopping = stopping
        self._lost = threading.Event()
        self._cancel = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lease-{lease.job_id}", daemon=True)
        self._alive_at = self._started_at = self._looked_for_others_at = time.monotonic()
        self._first_fraction: float | None = None
        self._budget_seconds = math.inf
        self._reported_at = float("-inf")
        self._reported_stage: str | None = None
        self.stages_begun: list[tuple[str, int]] = []
        """Each stage that this attempt came to, and when, in nanoseconds since 1970."""

    @property
    def job_id(self) -> str:
        """The id of the job's row."""
        return self.lease.job_id

    def should_stop(self) -> bool:
        """Whether to drop the work: cancelled, lease lost, or this process shall end."""
        return self._lost.is_set() or self._cancel.is_set() or self._stopping.is_set()

    def is_lost(self) -> bool:
        """Whether somebody else has the job by now, as far as is known."""
        return self._lost.is_set()

    def measure_from(self, fraction: float, budget_seconds: float = math.inf) -> None:
        """The work begins here and now; the estimate of what is left is made from its pace, not from what an earlier attempt did.

        `budget_seconds`: the longest that it takes from here.
        """
        self._started_at, self._first_fraction, self._budget_seconds = time.monotonic(), fraction, budget_seconds

    def report(self, stage: str, step: int, steps: int, fraction: float) -> None:
        """Write where the job is, at most four times a second; `fraction` of the whole job is in [0, 1].

        Raises LeaseLost. A database that is busy or away costs a line of progress, not the job.
        """
        now = time.monotonic()
        too_soon = now - self._reported_at < _SHORTEST_BETWEEN_REPORTS_SECONDS
        if too_soon and stage == self._reported_stage:
            return
        if stage != self._reported_stage:
            self.stages_begun.append((stage, time.time_ns()))
        self._reported_at, self._reported_stage = now, stage
        if self._first_fraction is None:
            self._first_fraction = fraction
        eta_seconds = estimate_remaining(now - self._started_at, fraction, self._first_fraction, self._budget_seconds)
        try:
            with self.database.write() as session:
                jobs.report_progress(
                    session,
                    self.lease,
                    stage=stage,
                    step=step,
                    steps=steps,
                    percent=round(100.0 * fraction, 1),
                    eta_seconds=eta_seconds,
                )
        except SQLAlchemyError as error:
            log.warning("job.progress_not_written", job_id=self.job_id, error=str(error))

    def write(self, action: Callable[[Session], Result]) -> Result:
        """What `action` returns, done in one transaction; while the database is away it is tried again, for as long as a lease lasts.

        For what is dear: a result, or the end of the job. Raises what `action` raises, and in the end SQLAlchemyError.
        """
        pause, deadline = _SHORTEST_PAUSE_SECONDS, time.monotonic() + self.lease.lease_seconds
        while True:
            try:
                with self.database.write() as session:
                    return action(session)
            except DATABASE_AWAY as error:
                if self._lost.is_set() or self._stopping.is_set() or time.monotonic() > deadline:
                    raise
                log.warning("job.write_tried_again", job_id=self.job_id, error=str(error))
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def turn_is_over(self, turn_seconds: float) -> bool:
        """Whether this job has had its turn and others wait; asks the database at most twice a second."""
        now = time.monotonic()
        if now - self._started_at < turn_seconds or now - self._looked_for_others_at < _LOOK_SECONDS:
            return False
        self._looked_for_others_at = now
        with self.database.read() as session:
            return turns.somebody_waits(session, JobKind(session.get_one(Job, self.job_id).kind))

    def yield_turn(self) -> None:
        """Queue the job again behind those who wait; what is done stays done. A cancelled one is closed. Or LeaseLost."""
        self.write(lambda session: self._leave(session, jobs.yield_turn))
        log.info("job.gave_way", job_id=self.job_id)

    def end_early(self) -> None:
        """Close a job whose work was dropped: cancelled if somebody asked for that, else queued again; or LeaseLost."""
        was_cancelled = self.write(lambda session: self._leave(session, jobs.hand_back))
        log.info("job.cancelled" if was_cancelled else "job.handed_back", job_id=self.job_id)

    def _leave(self, session: Session, otherwise: Callable[[Session, Lease], None]) -> bool:
        beat = jobs.heartbeat(session, self.lease)
        if not beat.alive:
            raise LeaseLost(self.job_id)
        (jobs.cancel if beat.cancel_requested else otherwise)(session, self.lease)
        return beat.cancel_requested

    def start(self) -> None:
        """Begin the heartbeat."""
        self._thread.start()

    def stop(self) -> None:
        """End the heartbeat."""
        self._ended.set()
        self._thread.join(timeout=_LOOK_SECONDS * 4)

    def _beat(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            try:
                self._look()
            except SQLAlchemyError as error:
                log.warning("lease.not_renewed", job_id=self.job_id, error=str(error))
            except Exception:
                # This thread must not end before the job: the lease would run out unseen.
                log.exception("lease.not_renewed", job_id=self.job_id)
            # By the monotonic clock, so that a jump of the wall clock ends no work.
            if time.monotonic() - self._alive_at > self.lease.lease_seconds:
                self._lost.set()

    def _look(self) -> None:
        if time.monotonic() - self._alive_at >= self._heartbeat_seconds:
            with self.database.write() as session:
                beat = jobs.heartbeat(session, self.lease)
            alive, cancel_requested = beat.alive, beat.cancel_requested
            if alive:
                self._alive_at = time.monotonic()
        else:
            alive, cancel_requested = self._read_flags()
        if cancel_requested:
            self._cancel.set()
        if not alive:
            self._lost.set()

    def _read_flags(self) -> tuple[bool, bool]:
        statement = select(Job.cancel_requested).where(
            Job.id == self.job_id, Job.status == JobStatus.RUNNING, Job.lease_token == self.lease.token
        )
        with self.database.read() as session:
            cancel_requested = session.execute(statement).scalar_one_or_none()
        # A job that has just ended is not lost: nobody asks any more.
        return (cancel_requested is not None or self._ended.is_set()), bool(cancel_requested)


@contextmanager
def hold(database: Database, settings: Settings, job_id: str, owner: str, stopping: threading.Event) -> Iterator[HeldJob | None]:
    """Claim the job and keep its lease until the block ends; None when it is not to be had."""
    lease = _claim(database, settings, job_id, owner)
    if lease is None:
        yield None
        return
    held = HeldJob(database, lease, settings.heartbeat_seconds, stopping)
    held.start()
    try:
        yield held
    finally:
        held.stop()


def estimate_remaining(
    elapsed_seconds: float, fraction: float, first_fraction: float = 0.0, budget_seconds: float = math.inf
) -> float | None:
    """Seconds left by the measured pace, or None while it is too early to say; at most what is left of the budget.

    `first_fraction`: what was done before these seconds began, by an earlier attempt or turn.
    """
    gained = fraction - first_fraction
    if gained < _SMALLEST_FRACTION_FOR_ETA or elapsed_seconds < _SHORTEST_ELAPSED_FOR_ETA_SECONDS:
        return None
    remaining = elapsed_seconds * (1.0 - min(fraction, 1.0)) / gained
    left_of_budget = max(budget_seconds - elapsed_seconds, _OVERTIME_SHARE * budget_seconds)
    return round(min(remaining, left_of_budget, _LONGEST_ETA_SECONDS), 1)


def _claim(database: Database, settings: Settings, job_id: str, owner: str) -> Lease | None:
    # Redis often rings more than once for one job; a read turns the late rings away without a write lock.
    with database.read() as session:
        status = session.execute(select(Job.status).where(Job.id == job_id)).scalar_one_or_none()
    if status not in ACTIVE_STATUSES:
        return None
    with database.write() as session:
        return jobs.claim(session, job_id, owner, settings.lease_seconds)
