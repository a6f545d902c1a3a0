"""`/v1/users/{user_id}/segmentations`, and `/v1/users/{user_id}/segment` for one photo."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any
from uuid import UUID

import anyio.to_thread
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse

from app.deps import CurrentUserId, IdempotencyKeyHeader, PageCursor, PageLimit, WiringDep
from app.job_documents import job_headers, wait_for_end
from app.job_events import event_stream
from app.masks.schemas import MaskFormat
from app.model_choice import ModelChoice
from app.pagination import DEFAULT_PAGE
from app.problems import problem_responses
from app.segmentations import one_photo, service
from app.segmentations.schemas import NewSegmentation, SegmentationDocument, SegmentationPage, SegmentationSummary

router = APIRouter(prefix="/v1/users/{user_id}", tags=["segmentations"], responses=problem_responses(401, 404, 422))

Items = Annotated[
    bool,
    Query(
        description="`false`: a `SegmentationSummary`, without the photos. For polling a job of many: its answer does not grow with them."
    ),
]

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_PHOTO_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "image/*": _BINARY,
            "multipart/form-data": {"schema": {"type": "object", "required": ["file"], "properties": {"file": _BINARY["schema"]}}},
        },
    }
}


@router.post(
    "/segmentations",
    status_code=202,
    summary="Segment photos",
    responses={200: {"description": "Done within `wait`", "model": SegmentationDocument}, **problem_responses(409, 429)},
)
async def start_segmentation(
    user_id: CurrentUserId,
    wiring: WiringDep,
    response: Response,
    wish: NewSegmentation,
    idempotency_key: IdempotencyKeyHeader = None,
) -> SegmentationDocument:
    """Queues the job, after an adaptation where `adapt` asks for one. With `wait` the answer is 200 if it ends in time.

    `model: personal` takes the model in use when the work starts; without one (the adaptation was refused, or failed)
    the base is taken, and `model_used` says so.
    """
    job_id = await anyio.to_thread.run_sync(service.start, wiring, user_id, wish, service.slot_of(user_id, wish, idempotency_key))
    await wait_for_end(wiring.database, user_id, job_id, wish.wait)
    document = await anyio.to_thread.run_sync(service.read, wiring, user_id, job_id)
    response.status_code = 200 if document.has_ended else 202
    response.headers.update(job_headers(document))
    return document


@router.get("/segmentations", summary="List a user's segmentations")
def list_segmentations(
    user_id: CurrentUserId, wiring: WiringDep, cursor: PageCursor = None, limit: PageLimit = DEFAULT_PAGE
) -> SegmentationPage:
    """Newest first, their photos counted instead of listed."""
    return service.page(wiring, user_id, cursor=cursor, limit=limit)


@router.get("/segmentations/{job_id}", summary="Read a segmentation")
def get_segmentation(
    user_id: CurrentUserId, job_id: UUID, wiring: WiringDep, response: Response, items: Items = True
) -> SegmentationDocument | SegmentationSummary:
    """The job as it stands, with one entry per photo, or, with `items=false`, its photos counted instead of listed."""
    read = service.read if items else service.summary
    document = read(wiring, user_id, str(job_id))
    response.headers.update(job_headers(document))
    return document


@router.get(
    "/segmentations/{job_id}/events",
    summary="Follow a segmentation",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}, 204: {"description": "Ended, and seen to its end"}, **problem_responses(429)},
)
async def follow_segmentation(
    user_id: CurrentUserId,
    job_id: UUID,
    request: Request,
    wiring: WiringDep,
    last_event_id: Annotated[str | None, Header(max_length=64)] = None,
) -> Response:
    """Server-sent events: the job as the list shows it (`SegmentationSummary`: its photos counted, not listed) whenever
    it changes, at most four a second. Which photo stands where is read from the job itself.
    """
    read = partial(service.summary, wiring, user_id, str(job_id))
    return await event_stream(request, wiring, user_id, read, last_event_id)


@router.post("/segmentations/{job_id}/cancel", status_code=202, summary="Cancel a segmentation")
def cancel_segmentation(
    user_id: CurrentUserId, job_id: UUID, wiring: WiringDep, response: Response, idempotency_key: IdempotencyKeyHeader = None
) -> SegmentationDocument:
    """The masks that are made stay."""
    document = service.cancel(wiring, user_id, str(job_id), idempotency_key)
    response.headers.update(job_headers(document))
    return document


@router.post(
    "/segment",
    summary="Segment one photo and answer with its mask",
    openapi_extra=_PHOTO_BODY,
    response_class=Response,
    responses={
        200: {"content": {"image/png": {}, "application/json": {}}},
        **problem_responses(400, 409, 413, 415, 429, 500, 504),
    },
)
async def segment_one(
    user_id: CurrentUserId,
    request: Request,
    wiring: WiringDep,
    model: Annotated[ModelChoice, Query()] = "personal",
    format: Annotated[MaskFormat, Query()] = MaskFormat.PNG,
    idempotency_key: IdempotencyKeyHeader = None,
) -> Response:
    """The photo is the body itself (`image/*`) or one multipart file; it joins the gallery when it is new.

    `Content-Location` is the mask's own address. Past the service's bound: 504 with `job`, where it goes on. Where the photo was deleted
    meanwhile: 404; where its job was cancelled: 409.
    """
    return await one_photo.segment(request, wiring, user_id, model, format, idempotency_key)
