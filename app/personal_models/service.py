"""What can be done with the versions of a user's model."""

from __future__ import annotations

from sqlalchemy.orm import Session

from app.db import Database
from app.errors import NotFound
from app.personal_models import repository
from app.personal_models.schemas import ModelDocument, ModelList
from app.storage import Storage
from app.tables import PersonalModel


def list_versions(database: Database, user_id: str) -> ModelList:
    """All versions, newest first."""
    with database.read() as session:
        return ModelList(items=[document(model) for model in repository.versions(session, user_id)])


def activate(database: Database, user_id: str, version: int) -> ModelDocument:
    """Make this version the one in use; raises NotFound."""
    with database.write() as session:
        model = require(session, user_id, version)
        repository.deactivate_all(session, user_id)
        session.refresh(model)
        model.active = True
        session.flush()
        return document(model)


def drop(database: Database, storage: Storage, user_id: str, version: int) -> None:
    """Remove a version and its masks; without an active one the user is back on the base. Raises NotFound."""
    with database.write() as session:
        model = require(session, user_id, version)
        keys = [model.blob_key]
        for mask in repository.masks_of(session, user_id, model):
            keys += [mask.labels_key, mask.confidence_key]
        repository.delete_with_masks(session, user_id, model)
    for key in keys:
        storage.delete(key)


def require(session: Session, user_id: str, version: int) -> PersonalModel:
    """The version; raises NotFound with `model_not_found`."""
    model = repository.get(session, user_id, version)
    if model is None:
        raise NotFound("model_not_found", f"This user has no model of version {version}.")
    return model


def document(model: PersonalModel) -> ModelDocument:
    """The version as the API shows it."""
    return ModelDocument(
        version=model.version,
        base=model.base,
        active=model.active,
        byte_size=model.byte_size,
        sha256=model.sha256,
        job_id=model.job_id,
        report=model.report,
        created_at=model.created_at,
    )
