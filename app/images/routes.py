"""`/v1/users/{user_id}/images`."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote
from uuid import UUID

import anyio.to_thread
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from app.conditional import cache_headers, etag_of, not_modified
from app.deps import CurrentUserId, PageCursor, PageLimit, Wiring, WiringDep
from app.errors import Unprocessable
from app.images import service
from app.images.multipart import ReceivedFile, received_files
from app.images.schemas import ImageDocument, ImagePage, UploadReport, UploadResult
from app.pagination import DEFAULT_PAGE
from app.problems import problem_responses

router = APIRouter(prefix="/v1/users/{user_id}/images", tags=["images"], responses=problem_responses(401, 404, 422))

_UPLOAD_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {"files": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                }
            }
        },
    }
}


@router.post("", summary="Upload photos", openapi_extra=_UPLOAD_BODY, responses=problem_responses(400, 415))
async def upload_images(user_id: CurrentUserId, request: Request, wiring: WiringDep) -> UploadReport:
    """A batch of any number of files; JPEG, PNG, WebP, HEIC and TIFF, told by content, not by name.

    The answer has one entry per file, in order: `stored`, `duplicate` (these bytes are there already) or `rejected`
    with a code: `zero_bytes`, `not_an_image`, `truncated_image`, `unsupported_format`, `too_many_pixels`,
    `file_too_large`, `too_many_files`. A bad file spoils no other. Sending a batch again is harmless.
    """
    results: list[UploadResult] = []
    async for received in received_files(request, max_file_bytes=wiring.settings.max_upload_file_bytes):
        results.append(await _store(wiring, user_id, received, position=len(results)))
    if not results:
        raise Unprocessable("no_files", "The request holds no files. Send them in multipart fields named `files`.")
    counts = {status: sum(entry.status == status for entry in results) for status in ("stored", "duplicate")}
    return UploadReport(results=results, rejected=len(results) - sum(counts.values()), **counts)


async def _store(wiring: Wiring, user_id: str, received: ReceivedFile, *, position: int) -> UploadResult:
    limit = wiring.settings.max_batch_files
    if position >= limit:
        received.path.unlink(missing_ok=True)
        return service.rejected(received.filename, "too_many_files", f"A request takes at most {limit} files.")
    return await anyio.to_thread.run_sync(service.store, wiring, user_id, received, limiter=wiring.decoding)


@router.get("", summary="Page through the gallery")
def list_images(user_id: CurrentUserId, wiring: WiringDep, cursor: PageCursor = None, limit: PageLimit = DEFAULT_PAGE) -> ImagePage:
    """The photos in the order of arrival; ask again with `next_cursor` until it is null."""
    return service.page(wiring.database, user_id, cursor=cursor, limit=limit)


@router.get("/{image_id}", summary="Read a photo's facts")
def get_image(user_id: CurrentUserId, image_id: UUID, wiring: WiringDep) -> ImageDocument:
    """Size in upright pixels, hash, time taken, group."""
    return service.document(service.require(wiring.database, user_id, str(image_id)))


@router.delete("/{image_id}", status_code=204, summary="Delete a photo")
def delete_image(user_id: CurrentUserId, image_id: UUID, wiring: WiringDep) -> None:
    """Removes the photo and its masks."""
    service.delete(wiring.database, wiring.storage, user_id, str(image_id))


@router.get(
    "/{image_id}/content",
    summary="Fetch a photo",
    response_class=StreamingResponse,
    responses={200: {"content": {"image/*": {}}}, 304: {"description": "Not modified"}},
)
def get_content(user_id: CurrentUserId, image_id: UUID, request: Request, wiring: WiringDep) -> Response:
    """The bytes as they were uploaded, with an ETag."""
    image = service.require(wiring.database, user_id, str(image_id))
    etag = etag_of(image.sha256)
    headers = cache_headers(etag) | {
        "Content-Length": str(image.byte_size),
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(image.filename, safe='')}",
    }
    return not_modified(request, etag) or StreamingResponse(
        service.content(wiring.storage, image), media_type=image.media_type, headers=headers
    )


@router.get(
    "/{image_id}/thumbnail",
    summary="Fetch a thumbnail",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}, 304: {"description": "Not modified"}},
)
async def get_thumbnail(
    user_id: CurrentUserId,
    image_id: UUID,
    request: Request,
    wiring: WiringDep,
    size: Annotated[int, Query(ge=16, le=2048, description="Longer side, pixels.")] = 256,
) -> Response:
    """A small upright JPEG without any metadata, with an ETag."""
    image = await anyio.to_thread.run_sync(service.require, wiring.database, user_id, str(image_id))
    etag = etag_of(image.sha256, "thumbnail", size)
    fresh = not_modified(request, etag)
    if fresh is not None:
        return fresh
    picture = await anyio.to_thread.run_sync(service.small, wiring, image, size, limiter=wiring.decoding)
    return Response(picture, media_type="image/jpeg", headers=cache_headers(etag))
