"""What photos look like from outside."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field


class ImageDocument(BaseModel):
    """One photo of the gallery."""

    id: str
    filename: str
    sha256: str
    media_type: str
    byte_size: int
    width: int = Field(description="Pixels of the upright photo.")
    height: int = Field(description="Pixels of the upright photo.")
    taken_at: datetime | None = Field(description="From EXIF; read as UTC where EXIF names no time zone.")
    group_index: int | None = Field(description="The group of similar photos found by the last adaptation.")
    created_at: datetime


class ImagePage(BaseModel):
    """One page of the gallery, in the order of arrival."""

    items: list[ImageDocument]
    next_cursor: str | None


class UploadResult(BaseModel):
    """What became of one file."""

    filename: str
    status: Literal["stored", "duplicate", "rejected"]
    image_id: str | None = Field(None, description="Of the new photo, or of the one that was there already.")
    code: str | None = Field(None, description="Why it was rejected, for programs.")
    reason: str | None = Field(None, description="Why it was rejected, for people.")


class UploadReport(BaseModel):
    """One entry per file, in the order of the request."""

    results: list[UploadResult]
    stored: int
    duplicate: int
    rejected: int

    @classmethod
    def of(cls, results: list[UploadResult]) -> UploadReport:
        """These results, counted."""
        counts = Counter(result.status for result in results)
        return cls(results=results, stored=counts["stored"], duplicate=counts["duplicate"], rejected=counts["rejected"])
