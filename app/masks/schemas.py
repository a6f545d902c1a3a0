"""What masks look like from outside."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, Field


class MaskFormat(StrEnum):
    """The forms in which a mask is given."""

    PNG = "png"
    OVERLAY = "overlay"
    CONFIDENCE = "confidence"
    JSON = "json"
    RLE = "rle"

    @property
    def is_decoded(self) -> bool:
        """Whether pixels are decoded for it: the others are given as they are stored."""
        return self in (MaskFormat.OVERLAY, MaskFormat.RLE)


class MaskClass(BaseModel):
    """One class of a mask."""

    id: int
    name: str
    area_share: float = Field(description="Share of the photo's pixels, 0–1.")
    mean_confidence: float | None = Field(description="Mean over the class's pixels, 0–1.")


class MaskDocument(BaseModel):
    """A mask in numbers."""

    image_id: str
    model_version: int = Field(description="0 is the base.")
    base: str
    width: int
    height: int
    classes: list[MaskClass]
    created_at: datetime


class Rle(BaseModel):
    """A region as COCO gives it."""

    size: tuple[int, int] = Field(description="Height, width.")
    counts: str


class RleSegment(BaseModel):
    """One class's region."""

    category_id: int
    name: str
    segmentation: Rle


class RleDocument(BaseModel):
    """A mask as COCO run lengths, one per class that occurs."""

    image_id: str
    model_version: int
    base: str
    segments: list[RleSegment]
