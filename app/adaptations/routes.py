"""`/v1/users/{user_id}/adaptations`."""

from __future__ import annotations

from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import StreamingResponse

from app.adaptations import service
from app.adaptations.schemas import AdaptationDocument, AdaptationPage, NewAdaptation
from app.deps import CurrentUserId, IdempotencyKeyHeader, PageCursor, PageLimit, WiringDep
from app.job_documents import job_headers
from app.job_events import event_stream
from app.pagination import DEFAULT_PAGE
from app.problems import problem_responses

router = APIRouter(prefix="/v1/users/{user_id}/adaptations", tags=["adaptations"], responses=problem_responses(401, 404, 422))


@router.post("", status_code=202, summary="Adapt to a user's photos", responses=problem_responses(409, 429))
def start_adaptation(
    user_id: CurrentUserId,
    wiring: WiringDep,
    response: Response,
    wish: NewAdaptation | None = None,
    idempotency_key: IdempotencyKeyHeader = None,
) -> AdaptationDocument:
    """Queues the job and answers at once. While one is queued or running, that one is returned; while a cancelled one still ends, 409."""
    defaults = NewAdaptation(budget_seconds=None, base=None, seed=0)
    document = service.start(wiring, user_id, wish or defaults, idempotency_key)
    response.headers.update(job_headers(document))
    return document


@router.get("", summary="List a user's adaptations")
def list_adaptations(
    user_id: CurrentUserId, wiring: WiringDep, cursor: PageCursor = None, limit: PageLimit = DEFAULT_PAGE
) -> AdaptationPage:
    """Newest first; their reports come without `groups`, which the adaptation itself has."""
    return service.page(wiring, user_id, cursor=cursor, limit=limit)


@router.get("/{job_id}", summary="Read an adaptation")
def get_adaptation(user_id: CurrentUserId, job_id: UUID, wiring: WiringDep, response: Response) -> AdaptationDocument:
    """The job as it stands; poll after `Retry-After` seconds while that header is there."""
    document = service.read(wiring, user_id, str(job_id))
    response.headers.update(job_headers(document))
    return document


@router.get(
    "/{job_id}/events",
    summary="Follow an adaptation",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}, 204: {"description": "Ended, and seen to its end"}, **problem_responses(429)},
)
async def follow_adaptation(
    user_id: CurrentUserId,
    job_id: UUID,
    request: Request,
    wiring: WiringDep,
    last_event_id: Annotated[str | None, Header(max_length=64)] = None,
) -> Response:
    """Server-sent events: the same document whenever it changes, at most four a second."""
    read = partial(service.read, wiring, user_id, str(job_id))
    return await event_stream(request, wiring, user_id, read, last_event_id)


@router.post("/{job_id}/cancel", status_code=202, summary="Cancel an adaptation")
def cancel_adaptation(
    user_id: CurrentUserId, job_id: UUID, wiring: WiringDep, response: Response, idempotency_key: IdempotencyKeyHeader = None
) -> AdaptationDocument:
    """A queued job is cancelled at once, a running one within seconds; an ended one stays as it is."""
    document = service.cancel(wiring, user_id, str(job_id), idempotency_key)
    response.headers.update(job_headers(document))
    return document
