"""`/v1/users/{user_id}/tokens`."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter

from app.deps import CurrentUserId, IdempotencyKeyHeader, PageCursor, PageLimit, WiringDep
from app.pagination import DEFAULT_PAGE
from app.problems import problem_responses
from app.tokens import service
from app.tokens.makers import CreatorDep, RotatorDep
from app.tokens.schemas import CreatedToken, NewToken, Rotation, TokenPage

router = APIRouter(prefix="/v1/users/{user_id}/tokens", tags=["tokens"], responses=problem_responses(401, 404, 422))


@router.post("", status_code=201, summary="Make a token")
def create_token(
    user_id: UUID,
    maker: CreatorDep,
    wiring: WiringDep,
    wish: NewToken | None = None,
    idempotency_key: IdempotencyKeyHeader = None,
) -> CreatedToken:
    """A further token for this user; `revoke_others` leaves it the only one.

    A user's own token makes none that lives longer than itself; the service's may make any. With `revoke_others` a user's own
    token ends itself: with an Idempotency-Key that is a random UUID (version 4) the same request is answered again for ten
    minutes all the same, until the new token has been used.
    """
    return service.create(wiring, maker, str(user_id), wish or NewToken.model_validate({}), idempotency_key)


@router.get("", summary="List the tokens")
def list_tokens(user_id: CurrentUserId, wiring: WiringDep, cursor: PageCursor = None, limit: PageLimit = DEFAULT_PAGE) -> TokenPage:
    """The user's tokens, without their secrets, oldest first; 30 days after it has expired or was revoked a token is removed."""
    return service.page(wiring.database, user_id, cursor=cursor, limit=limit)


@router.post("/{token_id}/rotate", status_code=201, summary="Replace a token", responses=problem_responses(409))
def rotate_token(
    user_id: UUID,
    token_id: UUID,
    maker: RotatorDep,
    wiring: WiringDep,
    wish: Rotation | None = None,
    idempotency_key: IdempotencyKeyHeader = None,
) -> CreatedToken:
    """A new token of the same scope and lifetime; the old one ends at once, or after `grace_seconds`.

    A token that replaces itself is answered again as one that makes a token with `revoke_others`.
    """
    grace_seconds = 0 if wish is None else wish.grace_seconds
    return service.rotate(wiring, maker, str(user_id), str(token_id), grace_seconds=grace_seconds, key=idempotency_key)


@router.delete("/{token_id}", status_code=204, summary="Revoke a token")
def revoke_token(user_id: CurrentUserId, token_id: UUID, wiring: WiringDep) -> None:
    """From the next request on the token is refused."""
    service.revoke(wiring.database, user_id, str(token_id))
