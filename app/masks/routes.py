"""`/v1/users/{user_id}/images/{image_id}/mask`."""

from __future__ import annotations

from functools import partial
from typing import Annotated
from uuid import UUID

import anyio.to_thread
from fastapi import APIRouter, Query, Request, Response

from app.catalog.schemas import BaseName
from app.conditional import cache_headers, etag_of, not_modified
from app.deps import CurrentUserId, WiringDep
from app.masks import service
from app.masks.rendering import render
from app.masks.schemas import MaskDocument, MaskFormat, RleDocument
from app.model_choice import ModelChoice
from app.problems import problem_responses
from app.redirects import redirect_to_blob

router = APIRouter(prefix="/v1/users/{user_id}/images", tags=["masks"], responses=problem_responses(401, 404, 422))


@router.head("/{image_id}/mask", include_in_schema=False)
@router.get(
    "/{image_id}/mask",
    summary="Fetch a photo's mask",
    response_class=Response,
    responses={
        200: {"content": {"image/png": {}, "application/json": {}}, "model": MaskDocument | RleDocument},
        304: {"description": "Not modified"},
        307: {"description": "The bucket has it, at this address for a while"},
    },
)
async def get_mask(
    user_id: CurrentUserId,
    image_id: UUID,
    request: Request,
    wiring: WiringDep,
    model: Annotated[ModelChoice | None, Query(description="Default: the model in use, else the base.")] = None,
    base: Annotated[BaseName | None, Query(description="With `model=base`: of which base model; default: the newest mask.")] = None,
    format: Annotated[MaskFormat, Query()] = MaskFormat.PNG,
) -> Response:
    """`png` (palette of class ids, the photo's own upright size), `overlay`, `confidence`, `json`, `rle` (COCO).

    `X-Model-Version` says which model made it (0 = base). 404 `mask_not_ready` names the job that will make it.
    """
    find = partial(service.find, wiring, user_id, str(image_id), model, base=base)
    image, mask = await anyio.to_thread.run_sync(find)
    etag = etag_of(mask.id, format.value)
    fresh = not_modified(request, etag)
    if fresh is not None:
        return fresh
    key = service.stored_as(mask, format)
    response = None if key is None else await anyio.to_thread.run_sync(redirect_to_blob, request, wiring, key, "image/png")
    if response is not None:
        response.headers["X-Model-Version"] = str(mask.model_version)
        return response
    if format.is_decoded:
        response = await wiring.decoding.run(user_id, render, wiring, image, mask, format)
    else:
        response = await anyio.to_thread.run_sync(render, wiring, image, mask, format)
    response.headers.update(cache_headers(etag) | {"X-Model-Version": str(mask.model_version)})
    return response
