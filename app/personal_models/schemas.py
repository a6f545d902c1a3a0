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
    report: Report = Field(description="That of the adaptation which made it: before and after, and the guard's verdict.")
    created_at: datetime


class ModelList(BaseModel):
    """A user's models, newest first."""

    items: list[ModelDocument]
