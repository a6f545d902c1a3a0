"""`Idempotency-Key`: the same request sent twice makes one job."""

from __future__ import annotations

import hashlib
from datetime import timedelta

from pydantic import BaseModel
from sqlalchemy import delete
from sqlalchemy.orm import Session

from app.clock import utc_now
from app.errors import IdempotencyConflict
from app.settings import Settings
from app.tables import IdempotencyKey


def recall(session: Session, settings: Settings, user_id: str, route: str, key: str | None, body: BaseModel) -> str | None:
    """The job that this key made before; raises IdempotencyConflict when its body was another one."""
    if key is None:
        return None
    forgotten_before = utc_now() - timedelta(hours=settings.idempotency_hours)
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.user_id == user_id, IdempotencyKey.created_at < forgotten_before))
    known = session.get(IdempotencyKey, (user_id, route, key))
    if known is None:
        return None
    if known.body_sha256 != _digest(body):
        raise IdempotencyConflict
    return str(known.response["job_id"])


def remember(session: Session, user_id: str, route: str, key: str | None, body: BaseModel, job_id: str) -> None:
    """Keep what this key made; raises IntegrityError (at flush) when another request was faster with it."""
    if key is None:
        return
    session.add(
        IdempotencyKey(
            user_id=user_id,
            route=route,
            key=key,
            body_sha256=_digest(body),
            status=202,
            response={"job_id": job_id},
        )
    )


def _digest(body: BaseModel) -> str:
    return hashlib.sha256(body.model_dump_json().encode()).hexdigest()
