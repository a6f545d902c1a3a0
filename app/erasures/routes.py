"""`/v1/erasures/{erasure_id}`: how far an erasure is."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Response

from app.deps import ServiceDep, WiringDep
from app.erasures import service
from app.erasures.schemas import ErasureDocument
from app.problems import problem_responses

router = APIRouter(prefix="/v1/erasures", tags=["users"], responses=problem_responses(401, 403, 404, 422))


@router.get("/{erasure_id}", summary="Read an erasure")
def get_erasure(_service: ServiceDep, erasure_id: UUID, wiring: WiringDep, response: Response) -> ErasureDocument:
    """Needs a service token: the user's own are gone. It says what was removed and not whose it was; kept for 30 days."""
    document = service.read(wiring.database, str(erasure_id))
    if document.status == "running":
        response.headers["Retry-After"] = "1"
    return document
