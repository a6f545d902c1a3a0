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
