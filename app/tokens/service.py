"""What can be done with a user's tokens."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from app import auth, idempotency
from app.auth import Principal
from app.clock import utc_now
from app.db import Database
from app.deps import TokenMaker, Wiring
from app.errors import Conflict, NotFound
from app.pagination import cut, decode_cursor
from app.tables import Token, TokenKind
from app.tokens import makers, repository
from app.tokens.keyed import made_once
from app.tokens.schemas import CreatedToken, NewToken, TokenDocument, TokenPage
from app.user_lock import lock_user


def create(wiring: Wiring, maker: TokenMaker, user_id: str, wish: NewToken, key: str | None) -> CreatedToken:
    """A new token for the user; with `revoke_others` the only valid one from here on."""
    now = utc_now()
    expires_at = _no_later_than(maker.principal, None if wish.lifetime is None else now + wish.lifetime)

    def make(session: Session, seed: bytes | None) -> tuple[Token, str]:
        if wish.revoke_others:
            repository.revoke(session, user_id, now)
        return auth.create_token(session, user_id, expires_at=expires_at, read_only=wish.scope == "read_only", seed=seed)

    slot = idempotency.slot(user_id, makers.TOKENS, key, wish)
    ends_at = now if wish.revoke_others and not maker.principal.is_service else None
    return _created(*made_once(wiring, maker, slot, make, locked=user_id, maker_ends_at=ends_at))


def rotate(wiring: Wiring, maker: TokenMaker, user_id: str, token_id: str, *, grace_seconds: int, key: str | None) -> CreatedToken:
    """A new token of the same scope and lifetime; the old one ends after `grace_seconds`, and is not rotated again until then.

    Raises NotFound, Conflict.
    """
    now = utc_now()
    ends_at = now + timedelta(seconds=grace_seconds)

    def make(session: Session, seed: bytes | None) -> tuple[Token, str]:
        old = repository.get(session, user_id, token_id)
        if old is None:
            raise token_not_found()
        if old.revoked_at is not None or (old.expires_at is not None and old.expires_at <= now):
            raise Conflict("token_not_valid", "This token is replaced, revoked or expired: make a new one instead.")
        lifetime = None if old.expires_at is None else old.expires_at - old.created_at
        expires_at = _no_later_than(maker.principal, None if lifetime is None else now + lifetime)
        made = auth.create_token(session, user_id, expires_at=expires_at, read_only=old.kind == TokenKind.READ_ONLY, seed=seed)
        # Its expiry stays as it was: the next token's lifetime is made from that.
        old.revoked_at = ends_at
        return made

    slot = idempotency.slot(user_id, makers.ROTATE, key, token_id, str(grace_seconds))
    is_own = token_id == maker.principal.token_id
    return _created(*made_once(wiring, maker, slot, make, locked=user_id, maker_ends_at=ends_at if is_own else None))


def page(database: Database, user_id: str, *, cursor: str | None, limit: int) -> TokenPage:
    """One page of the user's tokens without their secrets, oldest first; raises MalformedCursor."""
    after = decode_cursor(cursor)
    with database.read() as session:
        found = repository.page(session, user_id, after=after, limit=limit + 1)
    shown, next_cursor = cut(found, limit)
    return TokenPage(items=[_document(token) for token in shown], next_cursor=next_cursor)


def revoke(database: Database, user_id: str, token_id: str) -> None:
    """Make one token invalid; again is harmless. Raises NotFound for a token that is not the user's."""
    with database.write() as session:
        lock_user(session, user_id)
        if repository.get(session, user_id, token_id) is None:
            raise token_not_found()
        repository.revoke(session, user_id, utc_now(), token_id=token_id)


def token_not_found() -> NotFound:
    """The one answer for an unknown token and another user's."""
    return NotFound("token_not_found", "This user has no such token.")


def _no_later_than(maker: Principal, wanted: datetime | None) -> datetime | None:
    # Otherwise whoever finds a token of one day would make one for ever of it.
    return wanted if maker.is_service else _earlier(wanted, maker.expires_at)


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    given = [moment for moment in (one, other) if moment is not None]
    return min(given, default=None)


def _created(token: Token, text: str | None) -> CreatedToken:
    return CreatedToken(**_document(token).model_dump(), token=text)


def _document(token: Token) -> TokenDocument:
    return TokenDocument(
        id=token.id,
        prefix=token.prefix,
        scope="read_only" if token.kind == TokenKind.READ_ONLY else "user",
        created_at=token.created_at,
        last_used_at=token.last_used_at,
        expires_at=auth.ends_at(token) if token.revoked_at is None or token.revoked_at > utc_now() else token.expires_at,
        revoked_at=token.revoked_at,
    )
