"""What a personal model looks like from outside."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field

from app.adaptations.report import Report


class ModelDocument(BaseModel):
    """One version of a user's model."""

    version: int = Field(description="1, 2, …; a version is never used again.")
    base: str
    active: bool
    byte_size: int
    sha256: str
    job_id: str | None
    report: Report = Field(
        description="That of the adaptation which made it: before and after, and the guard's verdict. Without `groups` in the list."
    )
    created_at: datetime
    stale: bool = Field(description="Photos came or went since it looked at the gallery.")
    newer_photos: int = Field(description="Photos that came since.")
    newer_share: float = Field(ge=0, le=1, description="Their share of the gallery; `adapt: auto` adapts again from a fifth on.")
    removed_photos: int = Field(description="Photos that it saw and that are gone.")


class ModelPage(BaseModel):
    """One page of a user's models, newest first; their reports come without `groups`."""

    items: list[ModelDocument]
    next_cursor: str | None
