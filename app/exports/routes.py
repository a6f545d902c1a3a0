"""`/v1/users/{user_id}/export`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse

from app.deps import CurrentUserId, WiringDep
from app.exports import service
from app.exports.service import ExportFormat
from app.model_choice import ModelChoice
from app.problems import problem_responses

router = APIRouter(prefix="/v1/users/{user_id}", tags=["export"], responses=problem_responses(401, 404, 409, 422, 429))


async def count_under_way(user_id: CurrentUserId, wiring: WiringDep) -> AsyncIterator[None]:
    """One more export of the user under way, before its photos are read and until the answer has ended; raises TooManyRequests."""
    with wiring.exports.admitted(user_id):
        yield


@router.get(
    "/export",
    summary="Export all masks",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/zip": {}}}},
    dependencies=[Depends(count_under_way)],
)
def export_masks(
    user_id: CurrentUserId,
    wiring: WiringDep,
    format: Annotated[ExportFormat, Query()] = ExportFormat.COCO,
    model: Annotated[ModelChoice | None, Query(description="Default: the model in use, photo by photo the base without one.")] = None,
) -> StreamingResponse:
    """A streamed zip. `coco`: `annotations.json` with run lengths; `coco-panoptic`: PNGs of segment ids, `panoptic.json`;
    `voc`: palette PNGs, `class_names.txt`, `labelmap.txt`; `labelstudio`: `tasks.json` with brush regions as predictions and
    `label_config.xml`; `confidence`: grey PNGs, 255 = certain.

    What could not be exported is listed, with the reason, in `left_out.json` inside the zip; how much of it has no mask yet, the header
    `X-Photos-Left-Out` says beforehand.
    """
    gathered = service.prepare(wiring, user_id, model, format)
    headers = {
        "Content-Disposition": f'attachment; filename="personalseg-{format.value}.zip"',
        "Cache-Control": "private, no-store",
        "X-Content-Type-Options": "nosniff",
        "X-Photos-Left-Out": str(sum(entry.mask is None for entry in gathered.entries)),
    }
    return StreamingResponse(service.stream(wiring, gathered, format), media_type="application/zip", headers=headers)
