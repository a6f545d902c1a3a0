"""Tokens that ended long ago are removed: whoever signs in at the page leaves one a day, for ever."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, or_, select

from app.clock import utc_now
from app.db import Database
from app.settings import Settings
from app.tables import Token

# So long it can be looked up when a token was used last, and when it expired or was revoked.
_KEPT = timedelta(days=30)
# The write lock is held for no more than these.
_AT_ONCE = 500


def forget(database: Database, settings: Settings) -> int:
    """Remove the tokens that ended more than 30 days ago; returns how many."""
    # What an Idempotency-Key made must be there as long as the key is remembered.
    ended_by = utc_now() - max(_KEPT, timedelta(hours=settings.idempotency_hours))
    forgotten = 0
    while token_ids := _ended(database, ended_by):
        with database.write() as session:
            forgotten += len(session.execute(delete(Token).where(Token.id.in_(token_ids)).returning(Token.id)).all())
    return forgotten


def _ended(database: Database, by: datetime) -> Sequence[str]:
    statement = select(Token.id).where(or_(Token.expires_at <= by, Token.revoked_at <= by)).order_by(Token.id)
    with database.read() as session:
        return session.scalars(statement.limit(_AT_ONCE)).all()
