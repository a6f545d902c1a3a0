"""`/v1/users/{user_id}/images`."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote
from uuid import UUID

import anyio.to_thread
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from app.conditional import cache_headers, etag_of, not_modified
from app.deps import CurrentUserId, IdempotencyKeyHeader, PageCursor, PageLimit, WiringDep
from app.images import service
from app.images.batch import UploadBatch, body_bounds
from app.images.keyed import KeyedUpload
from app.images.multipart import received_files
from app.images.schemas import ImageDocument, ImagePage, UploadReport
from app.pagination import DEFAULT_PAGE
from app.problems import problem_responses
from app.redirects import redirect_to_blob
from app.storage import photo_key

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
            },
            "application/zip": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


@router.post("", summary="Upload photos", openapi_extra=_UPLOAD_BODY, responses=problem_responses(400, 413, 415, 429, 507))
async def upload_images(
    user_id: CurrentUserId, request: Request, wiring: WiringDep, idempotency_key: IdempotencyKeyHeader = None
) -> UploadReport:
    """A batch of any number of files; JPEG, PNG, WebP, HEIC and TIFF, told by content, not by name.

    Zip files among them, or one as the whole body (`application/zip`), are unpacked. The answer has one entry per photo,
    in order: `stored`, `duplicate` (these bytes are there already) or `rejected` with a code: `zero_bytes`,
    `not_an_image`, `truncated_image`, `unsupported_format`, `too_many_pixels`, `file_too_large`, `too_many_files`,
    `quota_exceeded`, `polyglot`, `too_complex`, `decompression_bomb`, `decoding_timeout`, `decoding_memory`,
    `decoding_crashed`; of zip files also `bad_archive`, `empty_archive`, `archive_bomb`, `unsafe_path`, `not_a_file`,
    `encrypted_entry`, `unsupported_compression`, `nested_archive`, `damaged_entry`. A bad file spoils no other. Sending a
    batch again is harmless. When the quota alone kept every photo out, the answer is 507.
    """
    upload = await anyio.to_thread.run_sync(KeyedUpload, wiring, user_id, idempotency_key)
    batch = UploadBatch(wiring, user_id, upload)
    with wiring.uploads.admitted(user_id):
        async for received in received_files(request, body_bounds(wiring.settings)):
            if upload.is_new(received):
                await batch.add(received)
    earlier = await anyio.to_thread.run_sync(upload.earlier_report)
    if earlier is not None:
        return earlier
    return await anyio.to_thread.run_sync(upload.remembered, batch.report(), batch.places)


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


@router.head("/{image_id}/content", include_in_schema=False)
@router.get(
    "/{image_id}/content",
    summary="Fetch a photo",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"image/*": {}}},
        304: {"description": "Not modified"},
        307: {"description": "The bucket has it, at this address for a while"},
    },
)
def get_content(user_id: CurrentUserId, image_id: UUID, request: Request, wiring: WiringDep) -> Response:
    """The bytes as they were uploaded, with an ETag."""
    image = service.require(wiring.database, user_id, str(image_id))
    etag = etag_of(image.sha256)
    disposition = f"inline; filename*=UTF-8''{quote(image.filename, safe='')}"
    headers = cache_headers(etag) | {"Content-Length": str(image.byte_size), "Content-Disposition": disposition}
    elsewhere = not_modified(request, etag) or redirect_to_blob(
        request, wiring, photo_key(user_id, image.sha256), image.media_type, disposition
    )
    if elsewhere is not None:
        return elsewhere
    pieces = service.content(wiring.storage, image)
    # Who asks for the head alone has the photo read for nothing.
    return StreamingResponse(pieces if request.method == "GET" else iter(()), media_type=image.media_type, headers=headers)


@router.head("/{image_id}/thumbnail", include_in_schema=False)
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
    picture = await wiring.decoding.run(user_id, service.small, wiring, image, size)
    return Response(picture, media_type="image/jpeg", headers=cache_headers(etag))
