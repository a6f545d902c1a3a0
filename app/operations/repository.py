"""Queries over all users, for the operator."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from app.storage import photo_key
from app.tables import Image, ItemStatus, Job, JobKind, JobStatus, Mask, PersonalModel, SegmentationItem, Token, User, WebhookDelivery

_AT_ONCE = 1000
REQUEUED_FROM = (JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.REFUSED)


def users(session: Session, *, limit: int) -> list[tuple[User, int, int]]:
    """The newest users, each with the number and the bytes of their photos."""
    held = select(Image.user_id, func.count().label("photos"), func.sum(Image.byte_size).label("size")).group_by(Image.user_id).subquery()
    statement = select(User, held.c.photos, held.c.size).outerjoin(held, held.c.user_id == User.id).order_by(User.id.desc()).limit(limit)
    return [(user, int(photos or 0), int(size or 0)) for user, photos, size in session.execute(statement)]


def user_named(session: Session, name: str) -> User | None:
    """The user of this id or external id."""
    return session.scalars(select(User).where((User.id == name) | (User.external_id == name)).limit(1)).one_or_none()


def tokens(session: Session, *, owner_id: str | None, service_only: bool, limit: int) -> list[Token]:
    """The newest tokens: of one user, of the services, or of all."""
    statement = select(Token).order_by(Token.id.desc()).limit(limit)
    if owner_id is not None:
        statement = statement.where(Token.user_id == owner_id)
    if service_only:
        statement = statement.where(Token.user_id.is_(None))
    return list(session.scalars(statement))


def token_named(session: Session, name: str) -> list[Token]:
    """The tokens of this id or of this beginning of their text."""
    return list(session.scalars(select(Token).where((Token.id == name) | (Token.prefix == name))))


def find_jobs(session: Session, *, owner_id: str | None, kind: str | None, status: str | None, limit: int) -> list[Job]:
    """The newest jobs that fit."""
    statement = select(Job).order_by(Job.id.desc()).limit(limit)
    for column, wanted in ((Job.user_id, owner_id), (Job.kind, kind), (Job.status, status)):
        if wanted is not None:
            statement = statement.where(column == wanted)
    return list(session.scalars(statement))


def item_counts(session: Session, job_id: str) -> dict[str, int]:
    """How many photos of a segmentation are where."""
    counted = select(SegmentationItem.status, func.count()).where(SegmentationItem.job_id == job_id).group_by(SegmentationItem.status)
    return dict(session.execute(counted).all())


def requeue(session: Session, job_id: str, now: datetime) -> bool:
    """Queue an ended job as if it were new, with all its attempts; every photo is looked at again. False where it may not be."""
    statement = (
        update(Job)
        .where(Job.id == job_id, Job.status.in_(REQUEUED_FROM))
        .values(
            status=JobStatus.QUEUED,
            attempt=0,
            cancel_requested=False,
            error_code=None,
            error_reason=None,
            report=None,
            timeline=[],
            stage=None,
            step=0,
            steps=0,
            percent=0.0,
            eta_seconds=None,
            started_at=None,
            finished_at=None,
            announced=False,
            # It waits from now on, not since it was made.
            served_at=now,
            rung_at=now,
            revision=Job.revision + 1,
        )
        .returning(Job.kind)
    )
    kind = session.execute(statement, execution_options={"synchronize_session": False}).scalar_one_or_none()
    if kind is not None:
        # Its next end is told, too: a webhook hears of a job once, and what it was told (or was to be told) is no longer so.
        session.execute(delete(WebhookDelivery).where(WebhookDelivery.job_id == job_id))
    if kind == JobKind.SEGMENTATION:
        # The model is chosen anew: the one that was pinned may be gone. So photos that are done may need another mask; a mask of
        # the same model is found again, not made again.
        session.execute(update(Job).where(Job.id == job_id).values(model_version=None))
        items = update(SegmentationItem).where(SegmentationItem.job_id == job_id)
        session.execute(items.values(status=ItemStatus.PENDING, error_code=None, error_reason=None))
    return kind is not None


def blob_keys(session: Session) -> Iterator[str]:
    """The key of every blob that a row speaks of."""
    for user_id, sha256 in session.execute(select(Image.user_id, Image.sha256).execution_options(yield_per=_AT_ONCE)):
        yield photo_key(user_id, sha256)
    yield from session.scalars(select(PersonalModel.blob_key).execution_options(yield_per=_AT_ONCE))
    for keys in session.execute(select(Mask.labels_key, Mask.confidence_key).execution_options(yield_per=_AT_ONCE)):
        yield from keys
