"""Who is calling. Tokens are 256 random bits, shown once, held as SHA-256 only."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import ColumnElement, and_, or_, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.clock import utc_now
from app.db import Database
from app.errors import Unauthorized
from app.tables import Token, TokenKind, User

TOKEN_BYTES = 32
_PREFIX_OF_KIND = {TokenKind.SERVICE: "pseg_svc_", TokenKind.USER: "pseg_usr_"}
_LAST_USED_EVERY = timedelta(minutes=1)

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Principal:
    """The holder of a valid token: a service, or one user."""

    token_id: str
    kind: TokenKind
    user_id: str | None

    @property
    def is_service(self) -> bool:
        """Whether this is an application's back end, which may act for any user."""
        return self.kind == TokenKind.SERVICE

    def may_act_for(self, user_id: str) -> bool:
        """Whether this caller may see and change what belongs to this user."""
        return self.is_service or self.user_id == user_id


def hash_token(text: str) -> str:
    """What the database holds instead of the token."""
    return hashlib.sha256(text.encode()).hexdigest()


def create_token(session: Session, user_id: str | None, *, expires_at: datetime | None = None) -> tuple[Token, str]:
    """A new token, of the user or (None) of a service, and its text, which nobody can ask for again."""
    kind = TokenKind.SERVICE if user_id is None else TokenKind.USER
    text = _PREFIX_OF_KIND[kind] + secrets.token_urlsafe(TOKEN_BYTES)
    token = Token(user_id=user_id, kind=kind.value, token_hash=hash_token(text), prefix=text[:13], expires_at=expires_at)
    session.add(token)
    session.flush()
    return token, text


def ensure_service_token(session: Session) -> str | None:
    """Make the first service token and return its text; None when a valid one exists already."""
    exists = session.execute(select(Token.id).where(Token.kind == TokenKind.SERVICE, _is_valid(utc_now())).limit(1)).first()
    return None if exists else create_token(session, None)[1]


def authenticate(database: Database, text: str) -> Principal:
    """The holder of this token; raises Unauthorized for an unknown, expired or revoked one."""
    now = utc_now()
    with database.read() as session:
        token = session.execute(
            select(Token)
            .outerjoin(User, Token.user_id == User.id)
            .where(Token.token_hash == hash_token(text), _is_valid(now), User.erased_at.is_(None))
        ).scalar_one_or_none()
    if token is None:
        raise Unauthorized("The token is unknown, expired or revoked.")
    if token.last_used_at is None or now - token.last_used_at >= _LAST_USED_EVERY:
        _note_use(database, token.id, now)
    return Principal(token_id=token.id, kind=TokenKind(token.kind), user_id=token.user_id)


def _is_valid(now: datetime) -> ColumnElement[bool]:
    return and_(Token.revoked_at.is_(None), or_(Token.expires_at.is_(None), Token.expires_at > now))


def _note_use(database: Database, token_id: str, now: datetime) -> None:
    try:
        with database.write() as session:
            session.execute(update(Token).where(Token.id == token_id).values(last_used_at=now))
    except SQLAlchemyError as error:
        # A busy database must not turn a valid caller away.
        log.warning("auth.use_not_noted", token_id=token_id, error=str(error))
