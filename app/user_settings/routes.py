"""`/v1/users/{user_id}/settings`."""

from __future__ import annotations

from fastapi import APIRouter

from app.deps import CurrentUserId, WiringDep
from app.problems import problem_responses
from app.user_settings import service
from app.user_settings.schemas import ChangedSettings, UserSettings

router = APIRouter(prefix="/v1/users/{user_id}/settings", tags=["users"], responses=problem_responses(401, 404, 422))


@router.get("", summary="Read a user's settings")
def get_settings(user_id: CurrentUserId, wiring: WiringDep) -> UserSettings:
    """What the user has chosen."""
    return service.read(wiring.database, user_id)


@router.patch("", summary="Change a user's settings")
def change_settings(user_id: CurrentUserId, wiring: WiringDep, wish: ChangedSettings) -> UserSettings:
    """With `auto_adapt` on, an adaptation starts some quiet seconds after uploads, where a fifth of the gallery is newer than the model."""
    return service.change(wiring.database, user_id, wish)
