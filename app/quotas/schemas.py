"""What quotas look like from outside."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

_MOST = 2**62


class OwnQuotas(BaseModel):
    """A user's own limits; null goes back to the service's. What is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")
    images: int | None = Field(None, ge=0, le=_MOST, description="Photos.")
    bytes: int | None = Field(None, ge=0, le=_MOST, description="Bytes of photos, as they were uploaded.")
    adaptation_seconds: float | None = Field(None, ge=0, le=86_400 * 366, description="Seconds of adaptation within 24 hours.")


class UserChange(BaseModel):
    """What of a user can be changed."""

    model_config = ConfigDict(extra="forbid")
    quotas: OwnQuotas


class Quota(BaseModel):
    """One limit and what is used of it."""

    limit: float
    used: float
    is_own: bool = Field(description="Set for this user, instead of the service's default.")


class QuotaDocument(BaseModel):
    """A user's quotas."""

    images: Quota
    bytes: Quota
    adaptation_seconds: Quota = Field(description="Used within the last 24 hours; what is queued or running counts with its budget.")


class ChangedUser(BaseModel):
    """The user after the change."""

    id: str
    quotas: QuotaDocument
