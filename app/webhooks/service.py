"""What can be done with webhooks."""

from __future__ import annotations

import base64
import hashlib
import secrets
from typing import Any

import httpx
from sqlalchemy.orm import Session

from app import idempotency
from app.auth import Principal
from app.clock import utc_now
from app.db import Database, once
from app.deps import Wiring
from app.errors import NotFound, Unprocessable
from app.pagination import cut, decode_cursor
from app.settings import Settings
from app.tables import Webhook, WebhookDelivery
from app.webhooks import repository
from app.webhooks.addresses import is_address, is_public
from app.webhooks.outbox import owner_of
from app.webhooks.schemas import LONGEST_URL, DeliveryDocument, DeliveryPage, NewWebhook, WebhookDocument

_ROUTE = "webhook"
_SECRET_BYTES = 32


def put(wiring: Wiring, maker: Principal, user_id: str | None, wish: NewWebhook, key: str | None) -> tuple[WebhookDocument, bool]:
    """Set the user's webhook, or (None) the service's; the document, and whether it is new.

    A repeated `key` changes nothing. Raises IdempotencyConflict, NotFound where its webhook has been removed since, Unprocessable.
    """
    url = checked_url(wiring.settings, wish.url)
    slot = idempotency.slot(user_id or maker.token_id, _ROUTE, key, wish)
    return once(lambda: _put(wiring, maker, user_id, url, slot, rotate=wish.rotate_secret))


def _put(
    wiring: Wiring, maker: Principal, user_id: str | None, url: str, slot: idempotency.Slot | None, *, rotate: bool
) -> tuple[WebhookDocument, bool]:
    with wiring.database.write() as session:
        earlier = idempotency.recall(session, wiring.settings, slot)
        if earlier is not None:
            return _again(session, maker, user_id, earlier)
        hook = repository.get(session, user_id)
        is_new = hook is None
        if hook is None:
            hook = Webhook(owner=owner_of(user_id), user_id=user_id, url=url, secret=_new_secret())
            session.add(hook)
        elif rotate:
            hook.secret = _new_secret()
        hook.url, hook.changed_at = url, utc_now()
        session.flush()
        secret = hook.secret if is_new or rotate else None
        made = {"webhook_id": hook.id, "is_new": is_new, "maker": maker.token_id, "secret_sha256": None if secret is None else _sum(secret)}
        idempotency.remember(session, wiring.settings, slot, made, user_id=user_id)
        return _document(hook, secret), is_new


def _again(session: Session, maker: Principal, user_id: str | None, made: dict[str, Any]) -> tuple[WebhookDocument, bool]:
    """The webhook as it stands, with the secret that was made then, for the very token that was shown it, and where it is still in use."""
    hook = _require(repository.get(session, user_id))
    if hook.id != made["webhook_id"]:
        raise _not_found()
    is_shown = maker.token_id == made["maker"] and _sum(hook.secret) == made["secret_sha256"]
    return _document(hook, hook.secret if is_shown else None), made["is_new"]


def _sum(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def read(database: Database, user_id: str | None) -> WebhookDocument:
    """The webhook, without its secret; raises NotFound."""
    with database.read() as session:
        return _document(_require(repository.get(session, user_id)), None)


def remove(database: Database, user_id: str | None) -> None:
    """Remove it with its deliveries; raises NotFound."""
    with database.write() as session:
        if not repository.remove(session, user_id):
            raise _not_found()


def deliveries(database: Database, user_id: str | None, *, cursor: str | None, limit: int) -> DeliveryPage:
    """One page of deliveries, newest first; raises NotFound, MalformedCursor."""
    before = decode_cursor(cursor)
    with database.read() as session:
        _require(repository.get(session, user_id))
        found = repository.deliveries(session, user_id, before=before, limit=limit + 1)
    shown, next_cursor = cut(found, limit)
    return DeliveryPage(items=[_delivery(row) for row in shown], next_cursor=next_cursor)


def checked_url(settings: Settings, text: str) -> str:
    """The URL as it will be called; raises Unprocessable. Where a name leads is looked at before every delivery."""
    try:
        url = httpx.URL(text)
        host = url.host  # reading it decodes `xn--…`
    except (httpx.InvalidURL, UnicodeError) as error:
        raise Unprocessable("webhook_bad_url", f"This is no URL: {error}") from error
    schemes = ("https", "http") if settings.webhook_allow_private else ("https",)
    if url.scheme not in schemes or not host:
        raise Unprocessable("webhook_bad_url", f"A webhook's URL begins with {' or '.join(f'{name}://' for name in schemes)} and a host.")
    if url.userinfo or url.fragment or not 0 < (url.port or 1) < 65536:
        raise Unprocessable("webhook_bad_url", "A webhook's URL holds no user, password or fragment, and a port that there is.")
    if is_address(host) and not is_public(host) and not settings.webhook_allow_private:
        raise Unprocessable("webhook_address_not_public", "A webhook goes to a public address.")
    if len(str(url)) > LONGEST_URL:
        raise Unprocessable("webhook_bad_url", f"A webhook's URL has at most {LONGEST_URL} characters, percent-encoded.")
    return str(url)


def _require(hook: Webhook | None) -> Webhook:
    if hook is None:
        raise _not_found()
    return hook


def _not_found() -> NotFound:
    return NotFound("webhook_not_found", "No webhook is set.")


def _new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def _document(hook: Webhook, secret: str | None) -> WebhookDocument:
    return WebhookDocument(url=hook.url, secret=secret, created_at=hook.created_at, changed_at=hook.changed_at)


def _delivery(row: WebhookDelivery) -> DeliveryDocument:
    return DeliveryDocument.model_validate(row, from_attributes=True)
