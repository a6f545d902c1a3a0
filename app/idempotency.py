"""`Idempotency-Key`: the same request sent twice makes one thing, and is answered twice.

A row remembers what a key made (an id, never a secret), in the transaction that made it: of two requests at the same
moment the second meets the primary key, rolls everything back and finds the first one's row (`once`). A key belongs to
one user, or to the service token that used it, and to one route; refused requests are not remembered, and what was made and
came to nothing can be forgotten.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel
from sqlalchemy import ColumnElement, and_, delete, select
from sqlalchemy.orm import Session

from app.clock import utc_now
from app.errors import IdempotencyConflict
from app.settings import Settings
from app.tables import IdempotencyKey


@dataclass(frozen=True)
class Slot:
    """Where one request's key is remembered. `owner` is a user's id, or a service token's where no user is yet."""

    owner: str
    route: str
    key: str
    body_sha256: str


class BodySum:
    """What makes two requests the same, part by part: body and path."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, *parts: BaseModel | str | None) -> None:
        """Take the next parts; their order matters."""
        for part in parts:
            text = part.model_dump_json() if isinstance(part, BaseModel) else repr(part)
            self._digest.update(f"{len(text)}:{text}".encode())

    def sha256(self) -> str:
        """The sum of all parts so far, in hex."""
        return self._digest.hexdigest()


def slot(owner: str, route: str, key: str | None, *parts: BaseModel | str | None) -> Slot | None:
    """The slot of a request that carries this key; `parts` is what makes two requests the same: body and path."""
    if key is None:
        return None
    body = BodySum()
    body.add(*parts)
    return Slot(owner, route, key, body.sha256())


def recall(session: Session, settings: Settings, slot: Slot | None) -> dict[str, Any] | None:
    """What this key made before, None where it is new; raises IdempotencyConflict when it came with another body."""
    if slot is None:
        return None
    known = session.execute(
        select(IdempotencyKey.body_sha256, IdempotencyKey.response).where(
            _is_in(slot),
            IdempotencyKey.created_at > _forgotten_before(settings),
        )
    ).one_or_none()
    if known is None:
        return None
    if known.body_sha256 != slot.body_sha256:
        raise IdempotencyConflict
    response: dict[str, Any] = known.response
    return response


def is_known(session: Session, settings: Settings, owner: str, route: str, key: str | None) -> bool:
    """Whether this key made something, whatever the body: for requests whose body is too large to be read first."""
    return made_by(session, settings, owner, route, key) is not None


def made_by(session: Session, settings: Settings, owner: str, route: str, key: str | None) -> dict[str, Any] | None:
    """What this key made, whatever the body."""
    row = session.get(IdempotencyKey, (owner, route, key)) if key is not None else None
    return row.response if row is not None and row.created_at > _forgotten_before(settings) else None


def remember(session: Session, settings: Settings, slot: Slot | None, response: dict[str, Any], *, user_id: str | None) -> None:
    """Keep what this key made, until the user is erased or it expires; raises IntegrityError when another was faster."""
    if slot is not None:
        _write(session, slot, response, user_id, IdempotencyKey.created_at <= _forgotten_before(settings))


def replace(session: Session, slot: Slot | None, response: dict[str, Any], *, user_id: str) -> None:
    """Keep what this key made, in the place of what it made before."""
    if slot is not None:
        _write(session, slot, response, user_id)


def _write(session: Session, slot: Slot, response: dict[str, Any], user_id: str | None, *over: ColumnElement[bool]) -> None:
    session.execute(delete(IdempotencyKey).where(_is_in(slot), *over))
    session.add(
        IdempotencyKey(
            owner=slot.owner,
            route=slot.route,
            key=slot.key,
            user_id=user_id,
            body_sha256=slot.body_sha256,
            response=response,
        )
    )
    session.flush()


def forget(session: Session, slot: Slot, made: dict[str, Any]) -> bool:
    """Let the key make something anew, `made` having been in vain; False where another request has seen to that meanwhile."""
    row = session.get(IdempotencyKey, (slot.owner, slot.route, slot.key), with_for_update=True)
    if row is None or row.response != made:
        return False
    session.delete(row)
    session.flush()
    return True


def sweep(session: Session, settings: Settings) -> int:
    """Forget the keys that have expired; returns how many."""
    expired = delete(IdempotencyKey).where(IdempotencyKey.created_at <= _forgotten_before(settings))
    return len(session.execute(expired.returning(IdempotencyKey.key)).all())


def _is_in(slot: Slot) -> ColumnElement[bool]:
    return and_(IdempotencyKey.owner == slot.owner, IdempotencyKey.route == slot.route, IdempotencyKey.key == slot.key)


def _forgotten_before(settings: Settings) -> datetime:
    return utc_now() - timedelta(hours=settings.idempotency_hours)
