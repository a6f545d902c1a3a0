"""Whose rows and blobs may be reached now: the one place through which every one of them goes.

While a request is served under `/v1/users/{user_id}/…`, every statement on an owned table is narrowed to that user by
SQLAlchemy itself, every new row must be theirs, and every blob key must lie below their prefix, whatever the code in
between has forgotten. Under `/v1/` without a user nothing owned can be reached at all. Repositories say `user_id` in
their queries all the same: this is the wall behind them.

What looks at several users on purpose says so with `for_everyone()`. Outside of a request (workers, command line) there
is no wall until somebody says `acting_for(user_id)`; a worker does, around each job.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import ORMExecuteState, Session, with_loader_criteria

from app.db import Database
from app.errors import NotFound
from app.tables import Image, Job, Mask, PersonalModel, User

OWNED: tuple[type[Any], ...] = (Image, Job, Mask, PersonalModel)


@dataclass(frozen=True)
class _Scope:
    user_id: str | None


_scope: ContextVar[_Scope | None] = ContextVar("personalseg_tenancy", default=None)


class ForeignAccess(Exception):
    """The code was about to touch what is not the user's for whom it acts: a defect of ours, never the caller's."""


@contextmanager
def acting_for(user_id: str | None) -> Iterator[None]:
    """Within this block only this user's rows and blobs can be reached; None: nobody's."""
    token = _scope.set(_Scope(user_id))
    try:
        yield
    finally:
        _scope.reset(token)


@contextmanager
def for_everyone() -> Iterator[None]:
    """Within this block all users can be reached; for what compares them, such as a place in the queue."""
    token = _scope.set(None)
    try:
        yield
    finally:
        _scope.reset(token)


def require_key(key: str) -> None:
    """Raise ForeignAccess when this blob is not of the user for whom we act."""
    scope = _scope.get()
    if scope is not None and not f"{key}/".startswith(f"users/{scope.user_id}/"):
        raise ForeignAccess("a blob of another user")


def require_user(user_id: str) -> None:
    """Raise ForeignAccess when what is in memory here belongs to another user than the one for whom we act."""
    scope = _scope.get()
    if scope is not None and scope.user_id != user_id:
        raise ForeignAccess("something of another user")


def guard(database: Database) -> None:
    """Put the wall into every session of this database."""
    database.listen("do_orm_execute", _narrow)
    database.listen("before_flush", _check_new)


def _narrow(state: ORMExecuteState) -> None:
    scope = _scope.get()
    if scope is None or state.is_column_load or state.is_relationship_load or not (state.is_select or state.is_update or state.is_delete):
        return
    criteria = (with_loader_criteria(table, table.user_id == scope.user_id, include_aliases=True) for table in OWNED)
    state.statement = state.statement.options(*criteria)


def _check_new(session: Session, _context: object, _instances: object) -> None:
    if _scope.get() is None:
        return
    made_here = {row.id for row in session.new if isinstance(row, User)}
    owners = {row.user_id for row in session.new if getattr(row, "user_id", None)} - made_here
    for user_id in owners:
        if any(isinstance(row, OWNED) and row.user_id == user_id for row in session.new):
            require_user(user_id)
        _require_living(session, user_id)


def _require_living(session: Session, user_id: str) -> None:
    # The lock (PostgreSQL; SQLite writes one at a time anyway) makes an erasure wait for this row, or this row see it.
    living = select(User.id).where(User.id == user_id, User.erased_at.is_(None)).with_for_update(read=True)
    if session.execute(living).first() is None:
        raise NotFound("user_not_found", "There is no such user.")
