"""What can be done with segmentations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy.orm import Session

from app import freshness, idempotency, queue, turns
from app.adaptations import repository as adaptation_repository
from app.adaptations import service as adaptations
from app.adaptations.schemas import NewAdaptation
from app.catalog import service as catalog
from app.db import once
from app.deps import Wiring
from app.errors import AdaptationEnding, GalleryEmpty, OtherAdaptation, TooManyRequests, Unprocessable
from app.images import repository as image_repository
from app.images.service import image_not_found
from app.job_documents import cancel_job, find_job, job_fields, job_url
from app.listed_photos import repository as listed_photos_repository
from app.listed_photos import service as listed_photos
from app.pagination import cut, decode_cursor
from app.personal_models import repository as model_repository
from app.personal_models import service as models_service
from app.segmentations import repository
from app.segmentations.schemas import (
    NewSegmentation,
    SegmentationDocument,
    SegmentationPage,
    SegmentationSummary,
)
from app.settings import Settings
from app.tables import ItemStatus, Job, JobKind

_ROUTE = "segmentations"
_COME_BACK_SECONDS = 10


@dataclass(frozen=True)
class _Queued:
    job_id: str
    adaptation_id: str | None
    is_new: bool


def slot_of(user_id: str, wish: NewSegmentation, key: str | None) -> idempotency.Slot | None:
    """Where this request's key is remembered."""
    return idempotency.slot(user_id, _ROUTE, key, wish)


def start(wiring: Wiring, user_id: str, wish: NewSegmentation, slot: idempotency.Slot | None, *, needs_mask: bool = False) -> str:
    """Queue a segmentation, and before it an adaptation where `adapt` asks for one; returns the job's id.

    `needs_mask`: an earlier job of this slot that will make no mask of these photos is forgotten, and another made.
    Raises GalleryEmpty, GalleryTooSmall (`adapt: always`), NotFound for a photo or a model version, TooManyRequests, Unprocessable.
    """
    queued = _start_with_room(wiring, user_id, wish, slot, needs_mask=needs_mask)
    if queued.adaptation_id is not None:
        queue.enqueue(wiring.settings.redis_url, JobKind.ADAPTATION, queued.adaptation_id)
    elif queued.is_new:
        queue.enqueue(wiring.settings.redis_url, JobKind.SEGMENTATION, queued.job_id)
    return queued.job_id


def _start_with_room(wiring: Wiring, user_id: str, wish: NewSegmentation, slot: idempotency.Slot | None, *, needs_mask: bool) -> _Queued:
    while True:
        # Counted before the write lock is taken: requests that arrive together may go past the bound by what they ask for.
        listed = listed_photos.listed(wiring.database, user_id)
        try:
            # Another request can be faster with the key, or with the adaptation.
            return once(lambda: _start(wiring, user_id, wish, slot, listed, needs_mask=needs_mask))  # noqa: B023 - called here and now
        except listed_photos.NoRoom as full:
            listed_photos.make_room(wiring.database, wiring.settings, user_id, full.wanted)


def _start(wiring: Wiring, user_id: str, wish: NewSegmentation, slot: idempotency.Slot | None, listed: int, *, needs_mask: bool) -> _Queued:
    settings = wiring.settings
    if wish.wait > settings.max_wait_seconds:
        raise Unprocessable("wait_too_long", f"wait is at most {settings.max_wait_seconds:g} seconds.")
    with wiring.database.write() as session:
        earlier = idempotency.recall(session, settings, slot)
        if slot and earlier and needs_mask and _is_in_vain(session, user_id, earlier["job_id"], wish):
            idempotency.forget(session, slot, earlier)
            earlier = idempotency.recall(session, settings, slot)
        if earlier is not None:
            return _Queued(earlier["job_id"], None, is_new=False)
        _require_few_unfinished(session, settings, user_id)
        image_ids = _chosen_images(session, settings, user_id, wish)
        listed_photos.require_room(settings, listed, len(image_ids))
        adaptation = _adaptation_first(session, settings, user_id, wish)
        adaptation_id = None if adaptation is None else adaptation.id
        job = Job(
            user_id=user_id,
            kind=JobKind.SEGMENTATION,
            base=_base_of(session, settings, user_id, wish, adaptation),
            request={"model": wish.model, "base": wish.base, "adapt": wish.adapt, "all": wish.image_ids == "all"},
            depends_on=adaptation_id,
        )
        session.add(job)
        session.flush()
        repository.add_items(session, job, image_ids)
        idempotency.remember(session, settings, slot, {"job_id": job.id}, user_id=user_id)
        return _Queued(job.id, adaptation_id, is_new=True)


def _is_in_vain(session: Session, user_id: str, job_id: str, wish: NewSegmentation) -> bool:
    """Whether the job has ended without a mask, or is of another photo: deleted and sent again, one has a new id."""
    others = {str(image_id) for image_id in wish.image_ids} - repository.image_ids(session, user_id, job_id)
    return bool(others) or repository.has_ended_in_vain(session, user_id, job_id)


def _require_few_unfinished(session: Session, settings: Settings, user_id: str) -> None:
    """Requests that arrive together may go past the limit by their number: it keeps the tables and the queue from filling up."""
    unfinished = repository.unfinished(session, user_id)
    if unfinished >= settings.max_unfinished_segmentations:
        detail = f"This user has {unfinished} segmentations that have not ended; {settings.max_unfinished_segmentations} are allowed."
        raise TooManyRequests("too_many_unfinished", detail, retry_after_seconds=_COME_BACK_SECONDS)


def _chosen_images(session: Session, settings: Settings, user_id: str, wish: NewSegmentation) -> Sequence[str]:
    most = min(settings.max_segmentation_images, settings.max_listed_photos)
    if wish.image_ids == "all":
        chosen = image_repository.all_ids(session, user_id, limit=most + 1, kept=True)
        if not chosen:
            raise GalleryEmpty
    else:
        chosen = list(dict.fromkeys(str(image_id) for image_id in wish.image_ids))
    if len(chosen) > most:
        raise Unprocessable("too_many_images", f"One segmentation takes at most {most} photos. Name them in parts.", extra={"most": most})
    if wish.image_ids != "all":
        _require_images(session, user_id, chosen)
    return chosen


def _require_images(session: Session, user_id: str, chosen: Sequence[str]) -> None:
    existing = image_repository.existing_ids(session, user_id, chosen, kept=True)
    for image_id in chosen:
        if image_id not in existing:
            raise image_not_found(image_id)


def _adaptation_first(session: Session, settings: Settings, user_id: str, wish: NewSegmentation) -> Job | None:
    if wish.adapt == "never" or (wish.adapt == "auto" and not _should_adapt(session, settings, user_id, wish)):
        return None
    try:
        return _adaptation_of(session, settings, user_id, wish.base)
    except (TooManyRequests, AdaptationEnding, OtherAdaptation):
        if wish.adapt == "always":
            raise
        return None  # `auto` does what it can: the model there is goes on


def _adaptation_of(session: Session, settings: Settings, user_id: str, base: str | None) -> Job:
    adaptation = adaptations.ensure(session, settings, user_id, NewAdaptation(budget_seconds=None, base=base, seed=0))
    if base not in (None, adaptation.base):
        raise OtherAdaptation(adaptation.base, job_url(adaptation))
    return adaptation


def _should_adapt(session: Session, settings: Settings, user_id: str, wish: NewSegmentation) -> bool:
    if wish.model != "personal":
        return False
    enough = image_repository.count(session, user_id) >= settings.min_gallery_images
    under_way = adaptation_repository.active(session, user_id) is not None
    return (enough or under_way) and freshness.needs_adaptation(session, settings, user_id, wish.base)


def _base_of(session: Session, settings: Settings, user_id: str, wish: NewSegmentation, adaptation: Job | None) -> str:
    """What is known now; without a name the worker goes by the personal model that is in use when its turn comes."""
    if isinstance(wish.model, int):
        of_version = models_service.require(session, user_id, wish.model).base
        if wish.base not in (None, of_version):
            raise Unprocessable("base_of_another_model", f"Version {wish.model} is of the base {of_version}: leave `base` out.")
        return of_version
    if wish.model == "personal" and wish.base is None:
        source = adaptation or model_repository.active(session, user_id)
        if source is not None:
            return source.base
    return catalog.resolve(session, settings, wish.base)


def read(wiring: Wiring, user_id: str, job_id: str) -> SegmentationDocument:
    """The segmentation as it stands; raises NotFound."""
    with wiring.database.read() as session:
        job = find_job(session, user_id, JobKind.SEGMENTATION, job_id)
        items = _items(session, job)
        counts = Counter(item["status"] for item in items)
        places = turns.Places(session, user_id, JobKind.SEGMENTATION, wiring.lines)
        return SegmentationDocument.model_validate({**_fields(job, counts, places), "items": items})


def summary(wiring: Wiring, user_id: str, job_id: str) -> SegmentationSummary:
    """The segmentation as it stands, its photos counted instead of listed; raises NotFound."""
    with wiring.database.read() as session:
        job = find_job(session, user_id, JobKind.SEGMENTATION, job_id)
        counts = listed_photos_repository.item_counts(session, user_id, [job_id])[job_id]
        places = turns.Places(session, user_id, JobKind.SEGMENTATION, wiring.lines)
        return SegmentationSummary.model_validate(_fields(job, counts, places))


def page(wiring: Wiring, user_id: str, *, cursor: str | None, limit: int) -> SegmentationPage:
    """One page of segmentations, newest first; raises MalformedCursor."""
    before = decode_cursor(cursor)
    with wiring.database.read() as session:
        found = adaptation_repository.page(session, user_id, JobKind.SEGMENTATION, before=before, limit=limit + 1)
        shown, next_cursor = cut(found, limit)
        places = turns.Places(session, user_id, JobKind.SEGMENTATION, wiring.lines)
        counts = listed_photos_repository.item_counts(session, user_id, [job.id for job in shown])
        items = [SegmentationSummary.model_validate(_fields(job, counts[job.id], places)) for job in shown]
    return SegmentationPage(items=items, next_cursor=next_cursor)


def cancel(wiring: Wiring, user_id: str, job_id: str, key: str | None) -> SegmentationDocument:
    """Ask it to stop; the masks that are made stay. Raises NotFound."""
    cancel_job(wiring, user_id, JobKind.SEGMENTATION, job_id, key)
    return read(wiring, user_id, job_id)


def _fields(job: Job, counts: Mapping[str, int], places: turns.Places) -> dict[str, Any]:
    return {
        **job_fields(job, places),
        "model_used": _model_name(job.model_version),
        "depends_on": job.depends_on,
        "item_counts": listed_photos.counts_of(job, counts),
    }


def _model_name(version: int | None) -> Literal["base"] | int | None:
    return "base" if version == 0 else version


def _items(session: Session, job: Job) -> list[dict[str, Any]]:
    """Plain fields of `SegmentationItemDocument`: a job has thousands, and whoever polls it has them made each time."""
    before, after = _around_image_id(job)
    return [
        {
            "image_id": image_id,
            "filename": filename,
            "status": status,
            "error_code": code,
            "error_reason": reason,
            "mask_url": f"{before}{image_id}{after}" if status == ItemStatus.DONE and job.model_version is not None else None,
        }
        for image_id, filename, status, code, reason in repository.items(session, job.user_id, job.id)
    ]


def _around_image_id(job: Job) -> tuple[str, str]:
    """The two ends of a mask's URL. A version has one base; the base's masks can be of several, and a later job can have made another."""
    name = _model_name(job.model_version)
    return f"/v1/users/{job.user_id}/images/", f"/mask?model={name}" + (f"&base={job.base}" if name == "base" else "")
