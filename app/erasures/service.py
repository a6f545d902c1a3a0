"""How a user is erased, step by step; each step may be repeated, and any process may go on where another died.

1. The mark (`users.erased_at`), the end of their tokens, and an `erasures` row, in one transaction: from here on nobody can
   act for the user or write for them (`app.tenancy`), and every process that finds the row goes on.
2. Their jobs are told to stop; what Redis holds names them no more; blobs and rows go.
3. When no living worker holds a job of theirs: jobs and user go, and with the user the last mention of their id.
4. The freed pages of SQLite and its write-ahead log are overwritten; then the erasure has succeeded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import structlog
from redis import RedisError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app import jobs, queue
from app.clock import utc_now
from app.db import Database
from app.erasures import repository
from app.erasures.schemas import ErasureDocument, ErasureLinks, ErasureReport, StartedErasure
from app.errors import NotFound
from app.storage import Storage, user_prefix
from app.tables import Erasure
from app.tenancy import for_everyone
from app.user_lock import lock_user

KEPT_DAYS = 30
# Whoever began it is given this long before somebody else takes over.
TAKEN_OVER_AFTER_SECONDS = 10.0
# A running job stops within two seconds of computing; most callers need not ask again.
_PATIENCE_SECONDS = 3.0
_LOOK_SECONDS = 0.1

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Places:
    """Everywhere that something of a user can be."""

    database: Database
    storage: Storage
    redis_url: str


def erase(places: Places, user_id: str) -> StartedErasure:
    """Erase the user, as far as it goes within seconds; a worker goes on with the rest. Raises NotFound."""
    erasure_id = begin(places.database, user_id)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    # Whoever asked learns that it goes on; which part is away is told by the worker that goes on.
    while not (is_finished := _proceed_or_leave(places, erasure_id, log.debug)) and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
    if not is_finished:
        log.info("erasure.left_to_a_worker", erasure_id=erasure_id)
    return StartedErasure(**read(places.database, erasure_id).model_dump(), user_id=user_id)


def read(database: Database, erasure_id: str) -> ErasureDocument:
    """How far it is; raises NotFound."""
    with database.read() as session:
        erasure = repository.get(session, erasure_id)
    if erasure is None:
        raise NotFound("erasure_not_found", f"There is no such erasure. Reports are kept for {KEPT_DAYS} days.")
    return ErasureDocument(
        id=erasure.id,
        status="running" if erasure.finished_at is None else "succeeded",
        report=ErasureReport.model_validate(erasure.report),
        started_at=erasure.created_at,
        finished_at=erasure.finished_at,
        links=ErasureLinks(self=f"/v1/erasures/{erasure.id}"),
    )


def begin(database: Database, user_id: str) -> str:
    """The mark, and the end of the user's jobs; returns the erasure's id, the same one when repeated. Raises NotFound."""
    # The wall lets nobody write for a user who is being erased; this row is about them, not theirs.
    with for_everyone(), database.write() as session:
        user = lock_user(session, user_id)
        if user is None:
            raise NotFound("user_not_found", "There is no such user.")
        user.erased_at = user.erased_at or utc_now()
        user.external_id = None
        for job in repository.active_jobs(session, user_id):
            jobs.request_cancel(session, job)
        erasure = repository.of_user(session, user_id)
        if erasure is None:
            erasure = Erasure(user_id=user_id, report=ErasureReport().model_dump())
            session.add(erasure)
            session.flush()
        return erasure.id


def finish_all(places: Places, *, taken_over_after_seconds: float = TAKEN_OVER_AFTER_SECONDS) -> int:
    """Go on with every erasure that its process has left; returns how many are finished by it."""
    now = utc_now()
    with places.database.read() as session:
        marked = repository.begun(session)
    for user_id in marked:
        begin(places.database, user_id)
    with places.database.write() as session:
        repository.forget_finished(session, now - timedelta(days=KEPT_DAYS))
        taken = repository.take_unfinished(session, now, untouched_since=now - timedelta(seconds=taken_over_after_seconds))
    return sum(_proceed_or_leave(places, erasure_id, log.warning) for erasure_id in taken)


def _proceed_or_leave(places: Places, erasure_id: str, tell: Callable[..., object]) -> bool:
    try:
        return _proceed(places, erasure_id)
    except (SQLAlchemyError, RedisError, OSError) as error:
        # The row is there: a worker goes on when what is away has come back.
        tell("erasure.interrupted", erasure_id=erasure_id, error=type(error).__name__)
        return False


def _proceed(places: Places, erasure_id: str) -> bool:
    with places.database.read() as session:
        erasure = repository.get(session, erasure_id)
        user_id = None if erasure is None else erasure.user_id
        job_ids = [] if user_id is None else repository.job_ids(session, user_id)
    if user_id is not None:
        messages = queue.forget(places.redis_url, job_ids)
        blobs = places.storage.delete_prefix(user_prefix(user_id))
        while _delete_some(places.database, erasure_id, user_id):
            pass
        with places.database.write() as session:
            is_gone = _delete_rows(session, erasure_id, user_id, messages=messages, blobs=blobs)
        if not is_gone:
            return False
        # What was on its way to the disk when the rows went.
        places.storage.delete_prefix(user_prefix(user_id))
    if not places.database.overwrite_deleted():
        return False
    with places.database.write() as session:
        finished = repository.get(session, erasure_id)
        if finished is not None and finished.finished_at is None:
            finished.finished_at = utc_now()
            log.info("erasure.finished", erasure_id=erasure_id, **finished.report)
    return True


def _delete_some(database: Database, erasure_id: str, user_id: str) -> bool:
    """Whether there may be more; each time in a transaction of its own, which says what it has removed."""
    with database.write() as session:
        lock_user(session, user_id)
        counts = repository.delete_some(session, user_id)
        _count(session, erasure_id, counts or {})
    return counts is not None


def _delete_rows(session: Session, erasure_id: str, user_id: str, **counted: int) -> bool:
    """Whether the user's own row is gone; it stays while a worker holds a job, so that the id still leads here."""
    lock_user(session, user_id)
    counts = counted | repository.delete_content(session, user_id)
    is_held = repository.is_held(session, user_id, utc_now())
    if not is_held:
        counts |= repository.delete_user(session, user_id)
    _count(session, erasure_id, counts)
    return not is_held


def _count(session: Session, erasure_id: str, counts: Mapping[str, int]) -> None:
    erasure = repository.get(session, erasure_id)
    if erasure is not None:
        erasure.report = {name: count + counts.get(name, 0) for name, count in erasure.report.items()}
        erasure.attempted_at = utc_now()
