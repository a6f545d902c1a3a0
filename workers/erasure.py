"""A worker can be the last to write blobs of a user who is erased meanwhile; then it removes them again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from app.storage import user_prefix
from app.tables import User
from workers.workshop import Workshop

log = structlog.get_logger(__name__)


@contextmanager
def writing_for(workshop: Workshop, user_id: str) -> Iterator[None]:
    """Around the writing of a user's blobs: where it fails because the user is gone, nothing of theirs stays."""
    try:
        yield
    except Exception:
        _forget_if_erased(workshop, user_id)
        raise


def _forget_if_erased(workshop: Workshop, user_id: str) -> None:
    with workshop.database.read() as session:
        user = session.get(User, user_id)
    if user is None or user.erased_at is not None:
        removed = workshop.storage.delete_prefix(user_prefix(user_id))
        log.info("user.blobs_removed_after_erasure", user_id=user_id, blobs=removed)
