"""One photo in, its mask out: stored, queued, waited for, answered."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

import anyio.to_thread
from fastapi import Request, Response
from pydantic import TypeAdapter

from app import idempotency
from app.catalog import service as catalog
from app.db import once
from app.decoding.errors import PhotoRejected
from app.deps import Wiring
from app.errors import (
    AppError,
    BadRequest,
    MaskLost,
    MaskNotReady,
    NotInTime,
    PayloadTooLarge,
    SegmentationCancelled,
    SegmentationFailed,
    Unprocessable,
    UnsupportedMediaType,
)
from app.images import service as images
from app.images.multipart import BodyBounds, FileWriter, ReceivedFile, received_files
from app.job_documents import wait_for_end
from app.masks import service as masks
from app.masks.rendering import render
from app.masks.schemas import MaskFormat
from app.model_choice import ModelChoice
from app.personal_models import service as models_service
from app.segmentations import service
from app.segmentations.schemas import NewSegmentation, SegmentationDocument
from app.tables import ItemStatus, JobStatus, Mask

_ERROR_OF_REJECTION: dict[str, type[AppError]] = {
    "file_too_large": PayloadTooLarge,
    "unsupported_format": UnsupportedMediaType,
}
_ROUTE, _JOB_ROUTE = "segment", "segment_job"
_WISH: TypeAdapter[NewSegmentation] = TypeAdapter(NewSegmentation)


@dataclass(frozen=True)
class _Taken:
    """A photo that is stored, and what is asked of it; `base` where the model is the base itself."""

    image_id: str
    model: ModelChoice
    base: str | None
    slot: idempotency.Slot | None
    job_slot: idempotency.Slot | None


async def segment(request: Request, wiring: Wiring, user_id: str, model: ModelChoice, wanted: MaskFormat, key: str | None) -> Response:
    """The mask of the photo in the body, in the format that is wanted; see the route for the errors."""
    with wiring.uploads.admitted(user_id):
        taken = await _taken_in(request, wiring, user_id, model, wanted, key)
    image_id = taken.image_id
    try:
        mask, response = await _rendered(wiring, user_id, image_id, taken.model, taken.base, wanted)
    except (MaskNotReady, MaskLost) as error:
        # The job that this key made has done its work where the mask is lost: another one is wanted.
        job_slot = None if isinstance(error, MaskLost) else taken.job_slot
        choice, base = await _made(wiring, user_id, image_id, taken.model, job_slot)
        mask, response = await _rendered(wiring, user_id, image_id, choice, base, wanted)
    await anyio.to_thread.run_sync(_remember, wiring, taken.slot, user_id, mask)
    model_name = mask.model_version or f"base&base={mask.base}"
    response.headers["X-Model-Version"] = str(mask.model_version)
    response.headers["X-Image-Id"] = image_id
    response.headers["Content-Location"] = f"/v1/users/{user_id}/images/{image_id}/mask?model={model_name}"
    return response


async def _taken_in(request: Request, wiring: Wiring, user_id: str, model: ModelChoice, wanted: MaskFormat, key: str | None) -> _Taken:
    received = await _received(request, wiring.settings.max_upload_file_bytes)
    try:
        slot = idempotency.slot(user_id, _ROUTE, key, received.sha256, str(model), wanted)
        # By the photo's content: deleted and sent again, it has another id.
        job_slot = idempotency.slot(user_id, _JOB_ROUTE, key, received.sha256, str(model))
        # A key that has answered before answers with the same mask, whichever model is in use by now.
        choice, base = await anyio.to_thread.run_sync(_wanted, wiring, user_id, slot, job_slot, model)
        image_id = await wiring.decoding.run(user_id, _stored, wiring, user_id, received)
        return _Taken(image_id, choice, base, slot, job_slot)
    finally:
        received.discard()


async def _received(request: Request, max_bytes: int) -> ReceivedFile:
    if not request.headers.get("content-type", "").lower().startswith("multipart/"):
        return await _raw_body(request, max_bytes)
    async with aclosing(received_files(request, BodyBounds(max_bytes))) as files:
        async for received in files:
            return received
    raise Unprocessable("no_files", "The request holds no file.")


async def _raw_body(request: Request, max_bytes: int) -> ReceivedFile:
    writer = FileWriter("photo", max_bytes)
    try:
        async for chunk in request.stream():
            writer.write(chunk)
    except BaseException:  # also when the caller hangs up
        writer.abandon()
        raise
    return writer.finish()


def _stored(wiring: Wiring, user_id: str, received: ReceivedFile) -> str:
    try:
        return images.store_photo(wiring, user_id, received)[0]
    except PhotoRejected as rejection:
        kind = _ERROR_OF_REJECTION.get(rejection.code, Unprocessable)
        if rejection.code == "zero_bytes":
            kind = BadRequest
        raise kind(rejection.code, rejection.reason) from rejection


def _wanted(
    wiring: Wiring, user_id: str, slot: idempotency.Slot | None, job_slot: idempotency.Slot | None, model: ModelChoice
) -> tuple[ModelChoice, str | None]:
    """The model and, for the base itself, which one. Raises NotFound, IdempotencyConflict: then nothing of the file is kept."""
    with wiring.database.read() as session:
        # Where its job is not done, the key has made nothing else yet.
        idempotency.recall(session, wiring.settings, job_slot)
        earlier = idempotency.recall(session, wiring.settings, slot) or {}
        choice: ModelChoice = earlier.get("model", model)
        if isinstance(choice, int):
            models_service.require(session, user_id, choice)
        if choice != "base":
            return choice, None
        return choice, earlier.get("base") or catalog.resolve(session, wiring.settings, None)


def _remember(wiring: Wiring, slot: idempotency.Slot | None, user_id: str, mask: Mask) -> None:
    def attempt() -> None:
        with wiring.database.write() as session:
            if idempotency.recall(session, wiring.settings, slot) is None:
                answer = {"model": mask.model_version or "base", "base": mask.base}
                idempotency.remember(session, wiring.settings, slot, answer, user_id=user_id)

    if slot is not None:
        once(attempt)


async def _rendered(
    wiring: Wiring, user_id: str, image_id: str, choice: ModelChoice, base: str | None, wanted: MaskFormat
) -> tuple[Mask, Response]:
    image, mask = await anyio.to_thread.run_sync(partial(masks.find, wiring, user_id, image_id, choice, base=base))
    return mask, await wiring.decoding.run(user_id, render, wiring, image, mask, wanted)


async def _made(
    wiring: Wiring, user_id: str, image_id: str, model: ModelChoice, slot: idempotency.Slot | None
) -> tuple[ModelChoice, str | None]:
    """Make the mask through the queue; returns the model that made it, and which base it is. Raises NotInTime, SegmentationFailed."""
    wish = _WISH.validate_python({"image_ids": [image_id], "adapt": "never", "model": model})
    job_id = await anyio.to_thread.run_sync(partial(service.start, wiring, user_id, wish, slot, needs_mask=True))
    await wait_for_end(wiring.database, user_id, job_id, wiring.settings.segment_wait_seconds)
    document = await anyio.to_thread.run_sync(service.read, wiring, user_id, job_id)
    if not document.items:
        # Deleted meanwhile, or a job of long ago that lists its photo no more.
        await anyio.to_thread.run_sync(images.require, wiring.database, user_id, image_id)
    _require_mask(document)
    used = model if document.model_used is None else document.model_used
    return used, document.base if used == "base" else None


def _require_mask(document: SegmentationDocument) -> None:
    link = {"job": document.links.self}
    if not document.has_ended:
        raise NotInTime("segmentation_not_in_time", "The mask is not ready yet; its job goes on.", extra=link)
    item = document.items[0] if document.items else None
    if document.status == JobStatus.SUCCEEDED and (item is None or item["status"] == ItemStatus.DONE):
        return
    if document.status == JobStatus.CANCELLED:
        raise SegmentationCancelled(document.links.self)
    code = (item and item["error_code"]) or document.error_code or "segmentation_failed"
    reason = (item and item["error_reason"]) or document.error_reason or f"The job has {document.status}."
    raise SegmentationFailed(code, reason, extra=link)
