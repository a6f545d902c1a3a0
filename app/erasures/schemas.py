"""What an erasure looks like from outside."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field


class ErasureReport(BaseModel):
    """What was removed so far."""

    images: int = 0
    masks: int = 0
    models: int = 0
    jobs: int = 0
    tokens: int = 0
    blobs: int = Field(0, description="Files: photos, masks, personal models with their context banks, checkpoints.")
    messages: int = Field(0, description="Messages in the queue that named a job of theirs.")


class ErasureLinks(BaseModel):
    """Where to go from here."""

    self: str


class ErasureDocument(BaseModel):
    """One erasure. It does not say whose: that is erased too."""

    id: str
    status: Literal["running", "succeeded"] = Field(
        description="`running` while a worker is letting go of a job, or Redis or the blob store is away."
    )
    report: ErasureReport
    started_at: datetime
    finished_at: datetime | None
    links: ErasureLinks


class StartedErasure(ErasureDocument):
    """The answer to whoever asked for it."""

    user_id: str
