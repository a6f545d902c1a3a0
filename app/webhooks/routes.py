"""`/v1/users/{user_id}/webhook` for one user's jobs, `/v1/webhook` for everybody's."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from app.auth import Principal
from app.deps import CurrentUserId, IdempotencyKeyHeader, PageCursor, PageLimit, PrincipalDep, ServiceDep, WiringDep
from app.pagination import DEFAULT_PAGE
from app.problems import problem_responses
from app.webhooks import service
from app.webhooks.schemas import DeliveryPage, NewWebhook, WebhookDocument

of_user = APIRouter(prefix="/v1/users/{user_id}/webhook", tags=["webhooks"], responses=problem_responses(401, 404, 422))
of_service = APIRouter(prefix="/v1/webhook", tags=["webhooks"], responses=problem_responses(401, 403, 404, 422))
_CREATED: dict[int | str, dict[str, Any]] = {201: {"description": "Made", "model": WebhookDocument}}


@of_user.put("", summary="Set a user's webhook", responses=_CREATED)
def put_webhook(
    user_id: CurrentUserId,
    principal: PrincipalDep,
    wiring: WiringDep,
    wish: NewWebhook,
    response: Response,
    idempotency_key: IdempotencyKeyHeader = None,
) -> WebhookDocument:
    """Every end of one of the user's jobs is POSTed there as JSON: `{type, timestamp, data}`, `type` e.g. `adaptation.succeeded`.

    Signed as standardwebhooks.com says: headers `webhook-id`, `webhook-timestamp`, `webhook-signature` (`v1,` and the
    HMAC-SHA256 of `id.timestamp.body`). Sent at least once, in any order, without following redirects; another answer than
    2xx is tried again for about eleven hours, 410 is not. The secret is in the answer that made it, and only there:
    with an Idempotency-Key in that of the same request by the same token, too, should the first have been lost.
    """
    return _put(wiring, principal, user_id, wish, idempotency_key, response)


@of_user.get("", summary="Read a user's webhook")
def get_webhook(user_id: CurrentUserId, wiring: WiringDep) -> WebhookDocument:
    """Without its secret."""
    return service.read(wiring.database, user_id)


@of_user.delete("", status_code=204, summary="Remove a user's webhook")
def delete_webhook(user_id: CurrentUserId, wiring: WiringDep) -> None:
    """With what has not been delivered yet."""
    service.remove(wiring.database, user_id)


@of_user.get("/deliveries", summary="List a webhook's deliveries")
def list_deliveries(user_id: CurrentUserId, wiring: WiringDep, cursor: PageCursor = None, limit: PageLimit = DEFAULT_PAGE) -> DeliveryPage:
    """Newest first: what was sent, what the receiver answered, when it is tried again."""
    return service.deliveries(wiring.database, user_id, cursor=cursor, limit=limit)


@of_service.put("", summary="Set the service's webhook", responses=_CREATED)
def put_service_webhook(
    principal: ServiceDep, wiring: WiringDep, wish: NewWebhook, response: Response, idempotency_key: IdempotencyKeyHeader = None
) -> WebhookDocument:
    """As a user's, for the jobs of all users; needs a service token."""
    return _put(wiring, principal, None, wish, idempotency_key, response)


@of_service.get("", summary="Read the service's webhook")
def get_service_webhook(_service: ServiceDep, wiring: WiringDep) -> WebhookDocument:
    """Without its secret."""
    return service.read(wiring.database, None)


@of_service.delete("", status_code=204, summary="Remove the service's webhook")
def delete_service_webhook(_service: ServiceDep, wiring: WiringDep) -> None:
    """With what has not been delivered yet."""
    service.remove(wiring.database, None)


@of_service.get("/deliveries", summary="List the service webhook's deliveries")
def list_service_deliveries(
    _service: ServiceDep, wiring: WiringDep, cursor: PageCursor = None, limit: PageLimit = DEFAULT_PAGE
) -> DeliveryPage:
    """Newest first."""
    return service.deliveries(wiring.database, None, cursor=cursor, limit=limit)


def _put(
    wiring: WiringDep, principal: Principal, user_id: str | None, wish: NewWebhook, key: str | None, response: Response
) -> WebhookDocument:
    document, is_new = service.put(wiring, principal, user_id, wish, key)
    response.status_code = 201 if is_new else 200
    response.headers["Cache-Control"] = "no-store"
    return document


router = APIRouter()
router.include_router(of_user)
router.include_router(of_service)
