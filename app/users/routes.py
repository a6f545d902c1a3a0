"""`/v1/users` and their tokens."""

from __future__ import annotations

from fastapi import APIRouter, Response

from app.deps import CurrentUserId, IdempotencyKeyHeader, PageCursor, PageLimit, ServiceDep, TokenMakerDep, VisibleUserId, WiringDep
from app.erasures import service as erasures
from app.erasures.schemas import StartedErasure
from app.erasures.service import Places
from app.pagination import DEFAULT_PAGE
from app.problems import problem_responses
from app.users import service
from app.users.schemas import CreatedUser, NewUser, UserDetails, UserPage

router = APIRouter(prefix="/v1/users", tags=["users"], responses=problem_responses(401, 422))


@router.post("", status_code=201, summary="Make a user", responses=problem_responses(403, 409))
def create_user(
    _service: ServiceDep,
    maker: TokenMakerDep,
    wiring: WiringDep,
    response: Response,
    wish: NewUser | None = None,
    idempotency_key: IdempotencyKeyHeader = None,
) -> CreatedUser:
    """Needs a service token. The answer carries the user's own token, this once (and again for the same Idempotency-Key)."""
    created = service.create(wiring, maker, wish or NewUser(external_id=None), idempotency_key)
    response.headers["Location"] = f"/v1/users/{created.id}"
    return created


@router.get("", summary="List the users", responses=problem_responses(403))
def list_users(_service: ServiceDep, wiring: WiringDep, cursor: PageCursor = None, limit: PageLimit = DEFAULT_PAGE) -> UserPage:
    """Needs a service token; oldest first."""
    return service.page(wiring.database, cursor=cursor, limit=limit)


@router.get("/{user_id}", summary="Read a user", responses=problem_responses(404))
def get_user(user_id: CurrentUserId, wiring: WiringDep) -> UserDetails:
    """The user, how many photos they have, and which of their models is in use."""
    return service.details(wiring.database, user_id)


@router.delete("/{user_id}", status_code=202, summary="Erase a user", responses=problem_responses(404))
def erase_user(user_id: VisibleUserId, wiring: WiringDep, response: Response) -> StartedErasure:
    """Stops the user's jobs and removes everything of theirs: rows, photos, masks, personal models, tokens, messages.

    The answer says what was removed. While a worker is still letting go of a job, or Redis or the blob store is away,
    it is `running`: poll `links.self`.
    """
    erasure = erasures.erase(Places(wiring.database, wiring.storage, wiring.settings.redis_url), user_id)
    response.headers["Location"] = erasure.links.self
    if erasure.status == "running":
        response.headers["Retry-After"] = "1"
    return erasure
