"""What tokens look like from outside."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

_TEN_YEARS_DAYS = 3650
_DAY_SECONDS = 86400

Scope = Literal["user", "read_only"]


class NewToken(BaseModel):
    """A token to be made."""

    model_config = ConfigDict(extra="forbid")
    scope: Scope = Field("user", description="`read_only` may only GET.")
    expires_in_days: int | None = Field(None, gt=0, le=_TEN_YEARS_DAYS, description="Never expires without it.")
    expires_in_seconds: int | None = Field(None, gt=0, le=_TEN_YEARS_DAYS * _DAY_SECONDS, description="Instead of `expires_in_days`.")
    revoke_others: bool = Field(False, description="Revoke the user's other tokens in the same step.")

    @model_validator(mode="after")
    def _one_lifetime(self) -> Self:
        if self.expires_in_days is not None and self.expires_in_seconds is not None:
            raise ValueError("give expires_in_days or expires_in_seconds, not both")
        return self

    @property
    def lifetime(self) -> timedelta | None:
        """How long the token is good for; None for ever."""
        if self.expires_in_days is not None:
            return timedelta(days=self.expires_in_days)
        return None if self.expires_in_seconds is None else timedelta(seconds=self.expires_in_seconds)


class Rotation(BaseModel):
    """How a token is replaced."""

    model_config = ConfigDict(extra="forbid")
    grace_seconds: int = Field(0, ge=0, le=_DAY_SECONDS, description="How long the old token stays good beside the new one.")


class TokenDocument(BaseModel):
    """A token, without its secret."""

    id: str
    prefix: str
    scope: Scope
    created_at: datetime
    last_used_at: datetime | None = Field(description="To the minute.")
    expires_at: datetime | None
    revoked_at: datetime | None = Field(description="Lies ahead where the token was replaced and stays good for a while.")


class CreatedToken(TokenDocument):
    """A new token; its text is shown this once."""

    token: str | None = Field(description="Null only for a repeated Idempotency-Key that first came with another token.")


class TokenPage(BaseModel):
    """One page of a user's tokens, oldest first."""

    items: list[TokenDocument]
    next_cursor: str | None
