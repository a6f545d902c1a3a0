"""A mask as a response, in each of its forms."""

from __future__ import annotations

from fastapi import Response
from fastapi.responses import JSONResponse

from app.deps import Wiring
from app.masks import service
from app.masks.schemas import MaskFormat
from app.tables import Image, Mask


def render(wiring: Wiring, image: Image, mask: Mask, wanted: MaskFormat) -> Response:
    """The mask as a response in this format."""
    storage = wiring.storage
    if wanted is MaskFormat.JSON:
        return JSONResponse(service.document(image, mask).model_dump(mode="json"))
    if wanted is MaskFormat.RLE:
        max_pixels = wiring.settings.max_rle_pixels
        document = service.rle_document(storage, image, mask, max_pixels=max_pixels)
        return JSONResponse(document.model_dump(mode="json"))
    if wanted is MaskFormat.OVERLAY:
        return Response(service.overlay_png(wiring, image, mask), media_type="image/png")
    if wanted is MaskFormat.CONFIDENCE:
        return Response(service.confidence_png(storage, mask), media_type="image/png")
    return Response(service.labels_png(storage, mask), media_type="image/png")
