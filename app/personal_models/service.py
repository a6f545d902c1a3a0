"""What can be done with the versions of a user's model."""

from __future__ import annotations

from sqlalchemy.orm import Session

from app import freshness, idempotency
from app.db import Database, once
from app.deps import Wiring
from app.errors import NotFound
from app.pagination import cut, decode_cursor
from app.personal_models import repository
from app.personal_models.schemas import ModelDocument, ModelPage
from app.storage import Storage
from app.tables import PersonalModel


def page(database: Database, user_id: str, *, cursor: str | None, limit: int) -> ModelPage:
    """One page of the versions, newest first; raises MalformedCursor."""
    before = decode_cursor(cursor)
    with database.read() as session:
        shown, next_cursor = cut(repository.page(session, user_id, before=before, limit=limit + 1), limit)
        fresh = freshness.of_models(session, user_id, shown)
    items = [_document(model, of_it) for model, of_it in zip(shown, fresh, strict=True)]
    return ModelPage(items=items, next_cursor=next_cursor)


def activate(wiring: Wiring, user_id: str, version: int, key: str | None) -> ModelDocument:
    """Make this version the one in use; raises NotFound. A key that did so before changes nothing again."""
    slot = idempotency.slot(user_id, "activate", key, str(version))

    def attempt() -> ModelDocument:
        with wiring.database.write() as session:
            model = require(session, user_id, version)
            if idempotency.recall(session, wiring.settings, slot) is None:
                _activate(session, user_id, version)
                idempotency.remember(session, wiring.settings, slot, {"version": version}, user_id=user_id)
            return document(session, model)

    return once(attempt)


def _activate(session: Session, user_id: str, version: int) -> None:
    repository.deactivate_all(session, user_id)
    require(session, user_id, version, locked=True).active = True  # it may have been dropped meanwhile
    session.flush()


def drop(database: Database, storage: Storage, user_id: str, version: int) -> None:
    """Remove a version and its masks; without an active one the user is back on the base. Raises NotFound."""
    with database.write() as session:
        # Locked before its masks are deleted: a worker that is saving one has done so by then, or finds the version gone.
        model = require(session, user_id, version, locked=True)
        keys = repository.delete_with_masks(session, user_id, model)
    storage.delete_all(keys)


def require(session: Session, user_id: str, version: int, *, locked: bool = False) -> PersonalModel:
    """The version; raises NotFound with `model_not_found`. `locked`: as of `repository.get`."""
    model = repository.get(session, user_id, version, locked=locked)
    if model is None:
        raise NotFound("model_not_found", f"This user has no model of version {version}.")
    return model


def document(session: Session, model: PersonalModel) -> ModelDocument:
    """The version as the API shows it."""
    return _document(model, freshness.of_model(session, model.user_id, model))


def _document(model: PersonalModel, fresh: freshness.Freshness) -> ModelDocument:
    return ModelDocument(
        version=model.version,
        base=model.base,
        active=model.active,
        byte_size=model.byte_size,
        sha256=model.sha256,
        job_id=model.job_id,
        report=model.report,
        created_at=model.created_at,
        stale=fresh.is_stale,
        newer_photos=fresh.newer,
        newer_share=round(fresh.newer_share, 4),
        removed_photos=fresh.removed,
    )
