"""What a user's settings look like from outside."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class UserSettings(BaseModel):
    """A user's settings."""

    auto_adapt: bool = Field(description="Adapt by itself, some quiet seconds after uploads, when a fifth of the gallery is newer.")


class ChangedSettings(BaseModel):
    """Settings to be changed; what is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")
    auto_adapt: bool | None = Field(None, description="Off for a new user. Null changes nothing.")
