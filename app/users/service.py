"""What can be done with users and tokens."""

from __future__ import annotations

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import auth, idempotency
from app.db import Database
from app.deps import TokenMaker, Wiring
from app.errors import Conflict, user_not_found
from app.pagination import cut, decode_cursor
from app.personal_models import repository as model_repository
from app.tables import Token, User
from app.tokens.keyed import made_once
from app.users import repository
from app.users.schemas import (
    CreatedUser,
    NewUser,
    UserDetails,
    UserDocument,
    UserPage,
)


def create(wiring: Wiring, maker: TokenMaker, wish: NewUser, key: str | None) -> CreatedUser:
    """Make a user and its first token; raises Conflict when the external id is taken, IdempotencyConflict."""

    def make(session: Session, seed: bytes | None) -> tuple[Token, str]:
        user = User(external_id=wish.external_id)
        session.add(user)
        session.flush()
        return auth.create_token(session, user.id, seed=seed)

    slot = idempotency.slot(maker.principal.token_id, "users", key, wish)
    try:
        token, text = made_once(wiring, maker, slot, make)
    except IntegrityError as error:
        raise _external_id_taken(wiring.database, wish.external_id or "") from error
    with wiring.database.read() as session:
        user = repository.get(session, token.user_id or "")
    if user is None:
        raise user_not_found()
    assert text is not None, "the key is the service token's own, and so is the text"
    return CreatedUser(id=user.id, external_id=user.external_id, created_at=user.created_at, token=text, token_id=token.id)


def _external_id_taken(database: Database, external_id: str) -> Conflict:
    with database.read() as session:
        held_by = repository.id_of_external(session, external_id)
    return Conflict("external_id_taken", "Another user has this external_id.", extra={"user_id": held_by})


def page(database: Database, *, cursor: str | None, limit: int) -> UserPage:
    """One page of the users, oldest first; raises MalformedCursor."""
    after = decode_cursor(cursor)
    with database.read() as session:
        found = repository.page(session, after=after, limit=limit + 1)
    shown, next_cursor = cut(found, limit)
    items = [UserDocument(id=user.id, external_id=user.external_id, created_at=user.created_at) for user in shown]
    return UserPage(items=items, next_cursor=next_cursor)


def details(database: Database, user_id: str) -> UserDetails:
    """The user and what the service holds of theirs; raises NotFound."""
    with database.read() as session:
        user = repository.get(session, user_id)
        if user is None:
            raise user_not_found()
        images, images_bytes = repository.gallery_size(session, user_id)
        active = model_repository.active(session, user_id)
    return UserDetails(
        id=user.id,
        external_id=user.external_id,
        created_at=user.created_at,
        images=images,
        images_bytes=images_bytes,
        active_model_version=None if active is None else active.version,
    )
