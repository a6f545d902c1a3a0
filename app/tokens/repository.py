"""Queries on the tokens of one user."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from app.tables import Token


def page(session: Session, user_id: str, *, after: str, limit: int) -> Sequence[Token]:
    """Up to `limit` tokens of the user made after this id."""
    statement = select(Token).where(Token.user_id == user_id, Token.id > after).order_by(Token.id).limit(limit)
    return session.scalars(statement).all()


def get(session: Session, user_id: str, token_id: str) -> Token | None:
    """One token of the user."""
    return session.execute(select(Token).where(Token.user_id == user_id, Token.id == token_id)).scalar_one_or_none()


def revoke(session: Session, user_id: str, now: datetime, *, token_id: str | None = None) -> int:
    """Revoke one token of the user, or all; returns how many were valid before."""
    statement = update(Token).where(Token.user_id == user_id, or_(Token.revoked_at.is_(None), Token.revoked_at > now))
    if token_id is not None:
        statement = statement.where(Token.id == token_id)
    revoked = session.execute(statement.values(revoked_at=now).returning(Token.id))
    return len(revoked.all())
