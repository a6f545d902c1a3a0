"""Whose turn it is to look through the whole blob store: one process's at a time, however many there are, and not too often."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from app.clock import utc_now
from app.db import Database
from app.sweeping import repository

_CHORE = "sweep_storage"


@contextmanager
def taken(database: Database, every: timedelta) -> Iterator[bool]:
    """Whether the turn is the caller's: nobody has had it for so long. Where the block raises, somebody else may try at once."""
    now = utc_now()
    try:
        with database.write() as session:
            is_ours = repository.take_turn(session, _CHORE, now, every)
    except IntegrityError:  # the very first one, and another process was faster
        is_ours = False
    try:
        yield is_ours
    except BaseException:
        if is_ours:
            with suppress(SQLAlchemyError), database.write() as session:
                repository.give_turn_back(session, _CHORE, now, every)
        raise
