"""Queries on webhooks; every one is of one user, or (None) of the service."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.tables import Webhook, WebhookDelivery
from app.webhooks.outbox import owner_of


def get(session: Session, user_id: str | None) -> Webhook | None:
    """Their webhook."""
    return session.execute(select(Webhook).where(Webhook.owner == owner_of(user_id))).scalar_one_or_none()


def remove(session: Session, user_id: str | None) -> bool:
    """Remove it with its deliveries; whether there was one."""
    return session.execute(delete(Webhook).where(Webhook.owner == owner_of(user_id)).returning(Webhook.id)).first() is not None


def deliveries(session: Session, user_id: str | None, *, before: str, limit: int) -> Sequence[WebhookDelivery]:
    """Up to `limit` deliveries older than this id ("" for the newest), newest first."""
    statement = select(WebhookDelivery).join(Webhook, WebhookDelivery.webhook_id == Webhook.id).where(Webhook.owner == owner_of(user_id))
    if before:
        statement = statement.where(WebhookDelivery.id < before)
    return session.scalars(statement.order_by(WebhookDelivery.id.desc()).limit(limit)).all()
