"""Which base models there are."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from app.catalog import repository
from app.catalog.schemas import BaseDocument, BaseList, ClassList
from app.db import Database
from app.errors import Unavailable, Unprocessable
from app.settings import Settings
from app.tables import RegisteredBase

_RETRY_AFTER_SECONDS = 5


def list_bases(database: Database) -> BaseList:
    """Every base; raises Unavailable before any worker has registered one."""
    with database.read() as session:
        return BaseList(items=[_document(base) for base in _registered(session)])


def list_classes(database: Database, name: str | None) -> ClassList:
    """The classes of this base, or of the default one; raises Unavailable, Unprocessable."""
    with database.read() as session:
        registered = _registered(session)
    base = registered[0] if name is None else _named(registered, name)
    return ClassList(base=base.name, items=_document(base).classes)


def resolve(session: Session, settings: Settings, name: str | None) -> str:
    """The name of the base to use; raises Unprocessable for one that no worker has."""
    registered = repository.bases(session)
    if not registered:
        # Before the first worker has come up nobody can tell which names are right.
        return name or settings.default_base
    return registered[0].name if name is None else _named(registered, name).name


def _registered(session: Session) -> Sequence[RegisteredBase]:
    registered = repository.bases(session)
    if not registered:
        raise Unavailable(
            "no_worker_yet",
            "No worker has registered its base models yet. Try again in a moment.",
            headers={"Retry-After": str(_RETRY_AFTER_SECONDS)},
        )
    return registered


def _named(registered: Sequence[RegisteredBase], name: str) -> RegisteredBase:
    for base in registered:
        if base.name == name:
            return base
    known = ", ".join(base.name for base in registered)
    raise Unprocessable("unknown_base", f"There is no base model of this name. There are: {known}.")


def _document(base: RegisteredBase) -> BaseDocument:
    return BaseDocument.model_validate(
        {
            "name": base.name,
            "title": base.title,
            "licence": base.licence,
            "is_default": base.is_default,
            "scores": base.scores,
            "context": base.context,
            "weights_present": base.weights_present,
            "classes": base.classes,
        }
    )
