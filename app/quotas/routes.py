"""A user's quotas: `GET /v1/users/{user_id}/quotas`, `PATCH /v1/users/{user_id}`."""

from __future__ import annotations

from fastapi import APIRouter

from app.deps import CurrentUserId, ServiceDep, WiringDep
from app.problems import problem_responses
from app.quotas import service
from app.quotas.schemas import ChangedUser, QuotaDocument, UserChange

router = APIRouter(prefix="/v1/users/{user_id}", tags=["users"], responses=problem_responses(401, 404, 422))


@router.get("/quotas", summary="Read a user's quotas")
def get_quotas(user_id: CurrentUserId, wiring: WiringDep) -> QuotaDocument:
    """What the user may store and compute, and what is used of it."""
    return service.read(wiring.database, wiring.settings, user_id)


@router.patch("", summary="Change a user's quotas", responses=problem_responses(403))
def change_user(_service: ServiceDep, user_id: CurrentUserId, wiring: WiringDep, wish: UserChange) -> ChangedUser:
    """Needs a service token. Null goes back to the service's own limit."""
    return ChangedUser(id=user_id, quotas=service.change(wiring.database, wiring.settings, user_id, wish.quotas))
