"""Counts what a user has used, and refuses what would be too much."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from app.clock import utc_now
from app.db import Database
from app.errors import QuotaExceeded, TooManyRequests, Unprocessable, user_not_found
from app.quotas import repository
from app.quotas.repository import AdaptationUse
from app.quotas.schemas import OwnQuotas, Quota, QuotaDocument
from app.settings import Settings
from app.tables import User

WINDOW = timedelta(hours=24)
_USERS_PER_QUERY = 500  # SQLite bounds the number of parameters


@dataclass(frozen=True)
class Limits:
    """What one user may use."""

    images: int
    bytes: int
    adaptation_seconds: float


def limits_of(settings: Settings, user: User) -> Limits:
    """The user's own limits where they are set, else the service's."""
    return Limits(
        settings.quota_images if user.quota_images is None else user.quota_images,
        settings.quota_bytes if user.quota_bytes is None else user.quota_bytes,
        settings.quota_adaptation_seconds if user.quota_adaptation_seconds is None else user.quota_adaptation_seconds,
    )


def require_room(session: Session, settings: Settings, user_id: str, byte_size: int, *, locked: bool = False) -> None:
    """Raise QuotaExceeded when one more photo of this size is too much, NotFound when the user is gone.

    Before the decoding it saves work; `locked`, in the transaction that inserts the photo, it is exact.
    """
    user = repository.user(session, user_id, locked=locked)
    if user is None:
        raise user_not_found()
    limits = limits_of(settings, user)
    images, stored_bytes = repository.stored(session, user_id)
    if images + 1 > limits.images:
        raise QuotaExceeded("images", f"This user has {images} photos; {limits.images} are allowed. Delete some first.")
    if stored_bytes + byte_size > limits.bytes:
        detail = f"This user's photos have {stored_bytes} bytes; with this one there would be more than the {limits.bytes} allowed."
        raise QuotaExceeded("bytes", detail)


def adaptation_budget(session: Session, settings: Settings, user_id: str, wanted: float | None) -> float:
    """The seconds that an adaptation of this user may take: those wanted, or (None) the service's default, or the user's quota if less.

    Raises TooManyRequests where they do not fit into what is left of these 24 hours; Unprocessable where they never would.
    """
    user = repository.user(session, user_id, locked=True)
    if user is None:
        raise user_not_found()
    limit = limits_of(settings, user).adaptation_seconds
    if wanted is not None and wanted > limit > 0:
        raise Unprocessable("budget_too_large", f"budget_seconds is at most {limit:g} for this user: that is their quota of 24 hours.")
    budget_seconds = _usual_budget(settings, limit) if wanted is None else wanted
    now = utc_now()
    jobs = repository.adaptations(session, user_id, now - WINDOW)
    used = _used(settings, jobs)
    if used + budget_seconds <= limit:
        return budget_seconds
    detail = f"This user's adaptations took {used:.0f} of {limit:g} s in the last 24 hours, and this one may take {budget_seconds:g} s."
    wait = _fits_again_at(settings, jobs, used + budget_seconds - limit, now) - now
    raise TooManyRequests("quota_exceeded", detail, retry_after_seconds=math.ceil(wait.total_seconds()))


def have_room_to_adapt(session: Session, settings: Settings, user_ids: Sequence[str]) -> set[str]:
    """Those of the users whose quota allows an adaptation of the usual length now; asked for all together, and nothing is locked."""
    since = utc_now() - WINDOW
    allowed: set[str] = set()
    for start in range(0, len(user_ids), _USERS_PER_QUERY):
        users = repository.users(session, user_ids[start : start + _USERS_PER_QUERY])
        jobs = repository.adaptations_of(session, [user.id for user in users], since)
        limits = {user.id: limits_of(settings, user).adaptation_seconds for user in users}
        allowed.update(one for one, limit in limits.items() if _used(settings, jobs[one]) + _usual_budget(settings, limit) <= limit)
    return allowed


def _usual_budget(settings: Settings, limit: float) -> float:
    return min(settings.adaptation_budget_seconds, limit or math.inf)


def _used(settings: Settings, jobs: Sequence[AdaptationUse]) -> float:
    return sum(_seconds(settings, job) for job in jobs)


def _fits_again_at(settings: Settings, jobs: Sequence[AdaptationUse], excess: float, now: datetime) -> datetime:
    for job in jobs:
        if job.finished_at is not None:
            excess -= _seconds(settings, job)
            if excess <= 0:
                return job.finished_at + WINDOW
    return now + WINDOW


def _seconds(settings: Settings, job: AdaptationUse) -> float:
    budget = float(job.request.get("budget_seconds") or settings.adaptation_budget_seconds)
    if job.finished_at is None:
        return budget
    if job.started_at is None:
        return 0.0
    if isinstance(job.measured, int | float):
        return float(job.measured)
    # Between start and end it may have waited for a worker for hours, or slept with the machine.
    return min(budget, max(0.0, (job.finished_at - job.started_at).total_seconds()))


def read(database: Database, settings: Settings, user_id: str) -> QuotaDocument:
    """The user's limits and what is used of them; raises NotFound."""
    with database.read() as session:
        user = repository.user(session, user_id)
        if user is None:
            raise user_not_found()
        return _document(session, settings, user)


def change(database: Database, settings: Settings, user_id: str, wish: OwnQuotas) -> QuotaDocument:
    """Give the user limits of their own, or take them back; raises NotFound."""
    with database.write() as session:
        user = repository.user(session, user_id, locked=True)
        if user is None:
            raise user_not_found()
        for name in wish.model_fields_set:
            setattr(user, f"quota_{name}", getattr(wish, name))
        session.flush()
        return _document(session, settings, user)


def _document(session: Session, settings: Settings, user: User) -> QuotaDocument:
    limits = limits_of(settings, user)
    images, stored_bytes = repository.stored(session, user.id)
    seconds = _used(settings, repository.adaptations(session, user.id, utc_now() - WINDOW))
    return QuotaDocument(
        images=Quota(limit=limits.images, used=images, is_own=user.quota_images is not None),
        bytes=Quota(limit=limits.bytes, used=stored_bytes, is_own=user.quota_bytes is not None),
        adaptation_seconds=Quota(limit=limits.adaptation_seconds, used=seconds, is_own=user.quota_adaptation_seconds is not None),
    )
