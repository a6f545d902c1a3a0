"""`/v1/users/{user_id}/models`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from app.deps import CurrentUserId, IdempotencyKeyHeader, PageCursor, PageLimit, WiringDep
from app.pagination import DEFAULT_PAGE
from app.personal_models import service
from app.personal_models.schemas import ModelDocument, ModelPage
from app.problems import problem_responses

router = APIRouter(prefix="/v1/users/{user_id}/models", tags=["models"], responses=problem_responses(401, 404, 422))

Version = Annotated[int, Path(ge=1, le=2**31 - 1)]


@router.get("", summary="List the versions")
def list_models(user_id: CurrentUserId, wiring: WiringDep, cursor: PageCursor = None, limit: PageLimit = DEFAULT_PAGE) -> ModelPage:
    """The versions, each with its report, newest first; at most one is active.

    The reports come without `groups`, which the adaptation (`job_id`) has: they name every photo.
    """
    return service.page(wiring.database, user_id, cursor=cursor, limit=limit)


@router.post("/{version}/activate", summary="Use a version")
def activate_model(
    user_id: CurrentUserId, version: Version, wiring: WiringDep, idempotency_key: IdempotencyKeyHeader = None
) -> ModelDocument:
    """Roll back or forward: new segmentations use this version."""
    return service.activate(wiring, user_id, version, idempotency_key)


@router.delete("/{version}", status_code=204, summary="Drop a version")
def delete_model(user_id: CurrentUserId, version: Version, wiring: WiringDep) -> None:
    """Removes the model and the masks it made. When it was the active one, the user is back on the base."""
    service.drop(wiring.database, wiring.storage, user_id, version)
