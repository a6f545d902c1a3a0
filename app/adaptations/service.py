"""What can be done with adaptations."""

from __future__ import annotations

from sqlalchemy.orm import Session

from app import base_choice, idempotency, jobs, queue, turns
from app.adaptations import repository
from app.adaptations.schemas import AdaptationDocument, AdaptationPage, NewAdaptation
from app.catalog import service as catalog
from app.db import once
from app.deps import Wiring
from app.errors import AdaptationEnding, GalleryEmpty, GalleryTooSmall, Unprocessable
from app.images import repository as image_repository
from app.job_documents import cancel_job, find_job, job_fields, job_url
from app.pagination import cut, decode_cursor
from app.quotas import service as quotas
from app.settings import Settings
from app.tables import Job, JobKind

_ROUTE = "adaptations"


def start(wiring: Wiring, user_id: str, wish: NewAdaptation, key: str | None) -> AdaptationDocument:
    """Queue an adaptation, or return the one that is under way; raises as `ensure`."""
    job_id = once(lambda: _start(wiring, user_id, wish, idempotency.slot(user_id, _ROUTE, key, wish)))
    document = read(wiring, user_id, job_id)
    if not document.has_ended:
        queue.enqueue(wiring.settings.redis_url, JobKind.ADAPTATION, document.id)
    return document


def _start(wiring: Wiring, user_id: str, wish: NewAdaptation, slot: idempotency.Slot | None) -> str:
    with wiring.database.write() as session:
        earlier = idempotency.recall(session, wiring.settings, slot)
        if earlier is not None:
            return str(earlier["job_id"])
        job = ensure(session, wiring.settings, user_id, wish)
        idempotency.remember(session, wiring.settings, slot, {"job_id": job.id}, user_id=user_id)
        return job.id


def ensure(session: Session, settings: Settings, user_id: str, wish: NewAdaptation) -> Job:
    """The user's queued or running adaptation, whatever that was asked with; a new one where there is none.

    A wish that makes no sense is refused also where an adaptation under way would answer it.
    Raises AdaptationEnding, GalleryEmpty, GalleryTooSmall, TooManyRequests for the quota, Unprocessable.
    """
    _require_bounded(settings, wish)
    named = wish.base or base_choice.kept_base(session, user_id)
    base = catalog.resolve(session, settings, named)
    under_way = repository.active(session, user_id)
    if under_way is not None:
        if under_way.cancel_requested:
            raise AdaptationEnding(job_url(under_way))
        return under_way
    require_gallery(settings, image_repository.count(session, user_id))
    budget_seconds = quotas.adaptation_budget(session, settings, user_id, wish.budget_seconds)
    return jobs.queue_adaptation(session, user_id, base=base, named=named, budget_seconds=budget_seconds, seed=wish.seed)


def require_gallery(settings: Settings, held: int) -> None:
    """Raise GalleryEmpty or GalleryTooSmall when there are too few photos to adapt to."""
    if held == 0:
        raise GalleryEmpty
    if held < settings.min_gallery_images:
        raise GalleryTooSmall(held, settings.min_gallery_images)


def _require_bounded(settings: Settings, wish: NewAdaptation) -> None:
    most = settings.max_adaptation_budget_seconds
    if wish.budget_seconds is not None and wish.budget_seconds > most:
        raise Unprocessable("budget_too_large", f"budget_seconds is at most {most:g} here.")


def read(wiring: Wiring, user_id: str, job_id: str) -> AdaptationDocument:
    """The adaptation as it stands; raises NotFound."""
    with wiring.database.read() as session:
        job = find_job(session, user_id, JobKind.ADAPTATION, job_id)
        return document_of(job, turns.Places(session, user_id, JobKind.ADAPTATION, wiring.lines))


def page(wiring: Wiring, user_id: str, *, cursor: str | None, limit: int) -> AdaptationPage:
    """One page of adaptations, newest first; raises MalformedCursor."""
    before = decode_cursor(cursor)
    with wiring.database.read() as session:
        found = repository.page(session, user_id, JobKind.ADAPTATION, before=before, limit=limit + 1)
        shown, next_cursor = cut(found, limit)
        places = turns.Places(session, user_id, JobKind.ADAPTATION, wiring.lines)
        items = [document_of(job, places) for job in shown]
    return AdaptationPage(items=items, next_cursor=next_cursor)


def cancel(wiring: Wiring, user_id: str, job_id: str, key: str | None) -> AdaptationDocument:
    """Ask it to stop; whatever waited for it goes on with the model there is. Raises NotFound."""
    cancel_job(wiring, user_id, JobKind.ADAPTATION, job_id, key)
    document = read(wiring, user_id, job_id)
    if document.has_ended:
        with wiring.database.read() as session:
            waiting = jobs.dependents(session, job_id)
        for due in waiting:
            queue.enqueue(wiring.settings.redis_url, due.kind, due.job_id)
    return document


def document_of(job: Job, places: turns.Places) -> AdaptationDocument:
    """The adaptation as the API shows it."""
    return AdaptationDocument.model_validate(job_fields(job, places))
