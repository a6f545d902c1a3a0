"""Adaptations that start by themselves, for users who have switched that on.

The rows are the truth, and no upload has to remember anything: a user is due when their newest photo is older than the
quiet time (so an upload of a thousand photos makes one adaptation, not a thousand) and newer than the photo of which
somebody took care last (`users.auto_adapt_seen`); or when their last adaptation ended because the blob store or the
database stayed away, which says nothing of the photos.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy import ColumnElement, ScalarSelect, exists, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import base_choice, freshness
from app.clock import utc_now
from app.db import Database
from app.errors import AppError
from app.jobs import Due, queue_adaptation
from app.quotas import service as quotas
from app.settings import Settings
from app.tables import ACTIVE_STATUSES, AUTO_ADAPTED, Image, Job, JobKind, JobStatus, RegisteredBase, User

_PASSES = ("storage_error", "storage_full", "database_error")
"""Codes of failed jobs (`workers.failures`) that are the service's trouble, not the gallery's."""
_AFTER_TROUBLE = timedelta(minutes=15)
"""How long a user waits whose adaptation ended so: its own attempts have waited for some minutes already."""

log = structlog.get_logger(__name__)


def queue_due(database: Database, settings: Settings) -> list[Due]:
    """Queue an adaptation for every user who is due and needs one; ring for each."""
    with database.read() as session:
        users = _due_users(session, settings)
        # Whom the quota refuses is asked for again every few seconds: that must take no write lock.
        allowed = quotas.have_room_to_adapt(session, settings, [user_id for user_id, _newest in users])
    due = []
    for user_id, newest in users:
        if user_id not in allowed:
            continue
        try:
            with database.write() as session:
                job = _take_care(session, settings, user_id, newest)
                if job is not None:
                    due.append(Due(job.id, JobKind.ADAPTATION))
        except IntegrityError:
            # A request has started one meanwhile. It may have begun before the newest photo: look again after it.
            log.info("auto_adaptation.another_was_faster", user_id=user_id)
        except AppError as error:
            # Nothing was written, so that it is tried again, every few seconds, until the quota allows it.
            log.debug("auto_adaptation.not_allowed", user_id=user_id, code=error.code)
    return due


def _due_users(session: Session, settings: Settings) -> Sequence[tuple[str, datetime]]:
    newest = _newest_photo()
    under_way = exists().where(Job.user_id == User.id, Job.kind == JobKind.ADAPTATION, Job.status.in_(ACTIVE_STATUSES))
    statement = select(User.id, newest).where(
        AUTO_ADAPTED,
        User.erased_at.is_(None),
        newest <= utc_now() - timedelta(seconds=settings.auto_adapt_quiet_seconds),
        _nobody_took_care(newest),
        ~under_way,
    )
    return [(user_id, at) for user_id, at in session.execute(statement)]


def _nobody_took_care(newest: datetime | ScalarSelect[datetime]) -> ColumnElement[bool]:
    last = select(func.max(Job.id)).where(Job.user_id == User.id, Job.kind == JobKind.ADAPTATION).correlate(User).scalar_subquery()
    ended = (Job.id == last, Job.status == JobStatus.FAILED, Job.error_code.in_(_PASSES), Job.finished_at <= utc_now() - _AFTER_TROUBLE)
    return or_(User.auto_adapt_seen.is_(None), User.auto_adapt_seen < newest, exists().where(*ended))


def _newest_photo() -> ScalarSelect[datetime]:
    return select(func.max(Image.created_at)).where(Image.user_id == User.id).correlate(User).scalar_subquery()


def _take_care(session: Session, settings: Settings, user_id: str, newest: datetime) -> Job | None:
    # Of several sweepers one changes the row; the others find it changed, or the new job there already.
    due = (User.id == user_id, User.auto_adapt, _nobody_took_care(newest))
    mine = update(User).where(*due).values(auto_adapt_seen=newest).returning(User.id)
    if session.execute(mine, execution_options={"synchronize_session": False}).scalar_one_or_none() is None:
        return None
    photos = session.execute(select(func.count()).where(Image.user_id == user_id)).scalar_one()
    if photos < settings.min_gallery_images or not freshness.needs_adaptation(session, settings, user_id):
        return None
    budget_seconds = quotas.adaptation_budget(session, settings, user_id, None)
    named = base_choice.kept_base(session, user_id)
    base = named or _default_base(session, settings)
    job = queue_adaptation(session, user_id, base=base, named=named, budget_seconds=budget_seconds)
    log.info("auto_adaptation.queued", user_id=user_id, job_id=job.id)
    return job


def _default_base(session: Session, settings: Settings) -> str:
    registered = session.execute(select(RegisteredBase.name).where(RegisteredBase.is_default).limit(1)).scalar_one_or_none()
    return registered or settings.default_base
