"""What webhooks look like from outside."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.tables import DeliveryStatus

LONGEST_URL = 2048
"""Characters, as the database holds it."""


class NewWebhook(BaseModel):
    """Where to tell the end of jobs."""

    model_config = ConfigDict(extra="forbid")
    url: str = Field(
        min_length=1, max_length=LONGEST_URL, description="`https://…`, on the open internet.", examples=["https://example.org/hook"]
    )
    rotate_secret: bool = Field(False, description="Make a new secret for a webhook that is there already; the old one ends at once.")


class WebhookDocument(BaseModel):
    """A webhook."""

    url: str
    secret: str | None = Field(description="`whsec_…`, shown only when it is made (and to the same request with the same Idempotency-Key).")
    created_at: datetime
    changed_at: datetime


class DeliveryDocument(BaseModel):
    """One job's end, told or to be told."""

    id: str = Field(description="Also the message's `webhook-id`, the same in every attempt.")
    event: str = Field(examples=["adaptation.succeeded"])
    job_id: str
    user_id: str
    status: DeliveryStatus
    attempts: int
    next_attempt_at: datetime | None
    response_status: int | None = Field(description="What the receiver answered last.")
    error: str | None = Field(description="Why the last attempt failed.")
    created_at: datetime
    delivered_at: datetime | None
    payload: dict[str, Any]


class DeliveryPage(BaseModel):
    """One page of deliveries, newest first."""

    items: list[DeliveryDocument]
    next_cursor: str | None
