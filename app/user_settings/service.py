"""What can be done with a user's settings."""

from __future__ import annotations

from sqlalchemy.orm import Session

from app.db import Database
from app.errors import user_not_found
from app.user_settings import repository
from app.user_settings.schemas import ChangedSettings, UserSettings


def read(database: Database, user_id: str) -> UserSettings:
    """The user's settings; raises NotFound."""
    with database.read() as session:
        return _document(session, user_id)


def change(database: Database, user_id: str, wish: ChangedSettings) -> UserSettings:
    """Change what is given; raises NotFound."""
    with database.write() as session:
        if wish.auto_adapt is not None:
            repository.set_auto_adapt(session, user_id, wish.auto_adapt)
        return _document(session, user_id)


def _document(session: Session, user_id: str) -> UserSettings:
    auto_adapt = repository.auto_adapt(session, user_id)
    if auto_adapt is None:
        raise user_not_found()
    return UserSettings(auto_adapt=auto_adapt)
