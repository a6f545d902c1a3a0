"""Deliveries of webhooks, as a worker takes them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from app.webhooks import outbox
from app.webhooks.outbox import Outgoing


def take_due(session: Session, now: datetime) -> list[Outgoing]:
    """What a worker does in two transactions: choose, then take."""
    return outbox.take(session, outbox.due_ids(session, now), now, sending_seconds=60.0)
