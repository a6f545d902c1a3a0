"""Users, tokens and jobs, as the operator sees and changes them. Every answer is a JSON document."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import auth, jobs, queue
from app.checks import Foundations
from app.clock import utc_now
from app.db import Database
from app.erasures import service as erasures
from app.erasures.service import Places
from app.errors import Conflict, NotFound
from app.listed_photos.service import is_shortened
from app.operations import repository
from app.settings import Settings
from app.storage import Storage
from app.tables import Job, Token, User
from app.user_lock import lock_user
from app.users import service as users_service

Document = dict[str, Any]

_SHOWN_OF_A_USER = 10
"""Tokens and jobs, the newest."""


@dataclass(frozen=True)
class Operator:
    """The deployment of these settings, opened."""

    settings: Settings
    database: Database
    storage: Storage

    @property
    def foundations(self) -> Foundations:
        """What can be asked whether it is there."""
        return Foundations(self.settings, self.database, self.storage)


def list_users(operator: Operator, *, limit: int) -> list[Document]:
    """The newest users."""
    with operator.database.read() as session:
        return [{**_user(user), "photos": photos, "bytes": size} for user, photos, size in repository.users(session, limit=limit)]


def show_user(operator: Operator, name: str) -> Document:
    """One user, by id or external id, with what is held of theirs; raises NotFound."""
    with operator.database.read() as session:
        user = _require_user(session, name)
        tokens = [_token(token) for token in repository.tokens(session, owner_id=user.id, service_only=False, limit=_SHOWN_OF_A_USER)]
        recent = [_job(job) for job in repository.find_jobs(session, owner_id=user.id, kind=None, status=None, limit=_SHOWN_OF_A_USER)]
    held = users_service.details(operator.database, user.id).model_dump(mode="json")
    return {**_user(user), **held, "tokens": tokens, "recent_jobs": recent}


def erase_user(operator: Operator, name: str) -> Document:
    """Remove everything of one user; raises NotFound."""
    with operator.database.read() as session:
        user = _require_user(session, name)
    places = Places(operator.database, operator.storage, operator.settings.redis_url)
    return erasures.erase(places, user.id).model_dump(mode="json")


def list_tokens(operator: Operator, *, user: str | None, service: bool, limit: int) -> list[Document]:
    """The newest tokens without their secrets; raises NotFound for an unknown user."""
    with operator.database.read() as session:
        owner = None if user is None else _require_user(session, user).id
        return [_token(token) for token in repository.tokens(session, owner_id=owner, service_only=service, limit=limit)]


def create_token(operator: Operator, *, user: str | None, read_only: bool, expires_in_days: int | None) -> Document:
    """A new token of one user, or (None) of a service, with its text, which is shown this once; raises NotFound."""
    expires_at = None if expires_in_days is None else utc_now() + timedelta(days=expires_in_days)
    with operator.database.write() as session:
        owner = None if user is None else _require_user(session, user).id
        token, text = auth.create_token(session, owner, expires_at=expires_at, read_only=read_only)
        return {**_token(token), "token": text}


def revoke_token(operator: Operator, name: str) -> Document:
    """Make one token invalid, by its id or prefix; again is harmless. Raises NotFound, and Conflict where several fit."""
    with operator.database.write() as session:
        found = repository.token_named(session, name)
        if not found:
            raise NotFound("token_not_found", "There is no token of this id or prefix.")
        if len(found) > 1:
            raise Conflict("token_ambiguous", f"{len(found)} tokens begin like this: say which by its id.")
        (token,) = found
        if token.user_id is not None:
            lock_user(session, token.user_id)
            session.refresh(token)
        token.revoked_at = min(token.revoked_at or utc_now(), utc_now())
        return _token(token)


def list_jobs(operator: Operator, *, user: str | None, kind: str | None, status: str | None, limit: int) -> list[Document]:
    """The newest jobs that fit; raises NotFound for an unknown user."""
    with operator.database.read() as session:
        owner = None if user is None else _require_user(session, user).id
        return [_job(job) for job in repository.find_jobs(session, owner_id=owner, kind=kind, status=status, limit=limit)]


def show_job(operator: Operator, job_id: str) -> Document:
    """One job, with everything that its row says; raises NotFound."""
    with operator.database.read() as session:
        job = _require_job(session, job_id)
        return {
            **_job(job),
            "request": job.request,
            "step": job.step,
            "steps": job.steps,
            "cancel_requested": job.cancel_requested,
            "depends_on": job.depends_on,
            "lease_owner": job.lease_owner,
            "lease_expires_at": job.lease_expires_at,
            "trace": job.trace,
            "timeline": job.timeline,
            "photos": repository.item_counts(session, job.id),
            "report": job.report,
        }


def cancel_job(operator: Operator, job_id: str) -> Document:
    """Cancel a queued job, or ask a running one to stop; an ended one stays as it is. Raises NotFound."""
    with operator.database.write() as session:
        job = _require_job(session, job_id)
        jobs.request_cancel(session, job)
        return _job(job)


def requeue_job(operator: Operator, job_id: str) -> Document:
    """Queue a failed, refused or cancelled job again and ring for it; raises NotFound or Conflict."""
    try:
        with operator.database.write() as session:
            job = _require_job(session, job_id)
            session.refresh(job, with_for_update=True)
            if is_shortened(job):
                raise Conflict("job_not_requeued", "The job ended long ago and lists its photos no more: ask for a new segmentation.")
            if not repository.requeue(session, job.id, utc_now()):
                raise Conflict("job_not_requeued", f"The job is {job.status}; only a failed, refused or cancelled one can be queued again.")
            session.refresh(job)
            document = _job(job)
    except IntegrityError as error:
        raise Conflict("adaptation_under_way", "This user has another adaptation queued or running already.") from error
    queue.enqueue(operator.settings.redis_url, job.kind, job.id)
    return document


def _require_user(session: Session, name: str) -> User:
    user = repository.user_named(session, name)
    if user is None:
        raise NotFound("user_not_found", "There is no user of this id or external id.")
    return user


def _require_job(session: Session, job_id: str) -> Job:
    job = session.get(Job, job_id)
    if job is None:
        raise NotFound("job_not_found", "There is no job of this id.")
    return job


def _user(user: User) -> Document:
    return {"id": user.id, "external_id": user.external_id, "created_at": user.created_at, "erased_at": user.erased_at}


def _token(token: Token) -> Document:
    return {
        "id": token.id,
        "kind": token.kind,
        "user_id": token.user_id,
        "prefix": token.prefix,
        "created_at": token.created_at,
        "last_used_at": token.last_used_at,
        "expires_at": token.expires_at,
        "revoked_at": token.revoked_at,
    }


def _job(job: Job) -> Document:
    return {
        "id": job.id,
        "user_id": job.user_id,
        "kind": job.kind,
        "status": job.status,
        "stage": job.stage,
        "percent": job.percent,
        "attempt": job.attempt,
        "base": job.base,
        "model_version": job.model_version,
        "error_code": job.error_code,
        "error_reason": job.error_reason,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
    }
