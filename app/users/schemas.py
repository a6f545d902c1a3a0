"""What users and tokens look like from outside."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field


class NewUser(BaseModel):
    """A user to be made."""

    model_config = ConfigDict(extra="forbid")
    external_id: str | None = Field(
        None, min_length=1, max_length=255, pattern=r"^[^\x00]*$", description="Your own name for the user; unique."
    )


class UserDocument(BaseModel):
    """A user."""

    id: str
    external_id: str | None
    created_at: datetime


class UserPage(BaseModel):
    """One page of the users, oldest first."""

    items: list[UserDocument]
    next_cursor: str | None


class UserDetails(UserDocument):
    """A user, with what the service holds of theirs."""

    images: int
    images_bytes: int
    active_model_version: int | None


class CreatedUser(UserDocument):
    """A new user; `token` is shown this once."""

    token: str
    token_id: str


class NewToken(BaseModel):
    """A token to be made."""

    model_config = ConfigDict(extra="forbid")
    expires_in_seconds: int | None = Field(None, gt=0, le=10 * 365 * 86400, description="Never expires without it.")
    revoke_others: bool = Field(False, description="Revoke the user's other tokens in the same step.")


class TokenDocument(BaseModel):
    """A token, without its secret."""

    id: str
    prefix: str
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None


class CreatedToken(TokenDocument):
    """A new token; its text is shown this once."""

    token: str


class TokenList(BaseModel):
    """A user's tokens."""

    items: list[TokenDocument]


class ErasureReport(BaseModel):
    """What was removed."""

    images: int
    masks: int
    models: int
    jobs: int
    blobs: int


class Erasure(BaseModel):
    """The erasure of one user, done."""

    user_id: str
    status: str = Field(examples=["succeeded"])
    report: ErasureReport
