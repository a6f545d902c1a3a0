"""What a worker does for erasures: finish those that were left, forget the erased in memory, and leave no blob behind.

It can be the last to write blobs of a user who is erased meanwhile; then it removes them again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog
from sqlalchemy import select

from app.erasures import service as erasures
from app.erasures.service import Places
from app.storage import user_prefix
from app.tables import Job, User
from workers.workshop import Workshop

log = structlog.get_logger(__name__)


@contextmanager
def writing_for(workshop: Workshop, user_id: str, *keys: str) -> Iterator[None]:
    """Around the writing of these blobs of a user and the rows that speak of them: where it fails because the user is gone, none stays."""
    try:
        yield
    except Exception:
        _forget_if_gone(workshop, user_id, keys)
        raise


def _forget_if_gone(workshop: Workshop, user_id: str, keys: Sequence[str]) -> None:
    """Of a user who is marked as erased everything goes, of one who is not there only what was written just now.

    One who is not there was erased to the end, and then there is nothing else; or the database is being restored, and then the rest is
    wanted again. What of it is not, `app.sweeping` removes, by its age and after a second look.
    """
    with workshop.database.read() as session:
        user = session.get(User, user_id)
    if user is None:
        workshop.storage.delete_all(keys)
        log.info("user.gone_meanwhile", user_id=user_id)
    elif user.erased_at is not None:
        removed = workshop.storage.delete_prefix(user_prefix(user_id))
        log.info("user.blobs_removed_after_erasure", user_id=user_id, blobs=removed)


def owner_of(workshop: Workshop, job_id: str) -> str | None:
    """Whose job this is; None when it is gone."""
    with workshop.database.read() as session:
        return session.execute(select(Job.user_id).where(Job.id == job_id)).scalar_one_or_none()


def finish_erasures(workshop: Workshop) -> None:
    """Go on with what another process left, and drop the models of the erased from memory."""
    erasures.finish_all(Places(workshop.database, workshop.storage, workshop.settings.redis_url))
    held = workshop.models.user_ids()
    if held:
        with workshop.database.read() as session:
            living = set(session.scalars(select(User.id).where(User.id.in_(held), User.erased_at.is_(None))))
        workshop.models.forget(held - living)
