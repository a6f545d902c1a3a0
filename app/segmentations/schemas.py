"""What segmentations look like from outside."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from app.catalog.schemas import BaseName
from app.job_documents import JobDocument
from app.model_choice import ModelChoice
from app.tables import ItemStatus


class NewSegmentation(BaseModel):
    """A segmentation to be made."""

    model_config = ConfigDict(extra="forbid")
    image_ids: Annotated[list[UUID], Field(min_length=1)] | Literal["all"] = "all"
    adapt: Literal["auto", "always", "never"] = Field(
        "auto", description="`auto` adapts first where the model is missing or a fifth of the gallery is newer; with `base`, to that base."
    )
    model: ModelChoice = Field("personal", description="`personal` is the model in use, or the base without one.")
    base: BaseName | None = Field(
        None,
        description="A name of `GET /v1/bases`; without, the one of the model in use, else the default. Where the model in use is on "
        "another, `personal` is the newest version on this one.",
    )
    wait: float = Field(0, ge=0, allow_inf_nan=False, description="Seconds to wait for the end before answering.")


class SegmentationItemDocument(TypedDict):
    """One photo of a segmentation."""

    image_id: str
    filename: str
    status: ItemStatus
    error_code: str | None
    error_reason: str | None
    mask_url: Annotated[str | None, Field(description="Where the mask is, once it is done.")]


class ItemCounts(BaseModel):
    """How many photos of a segmentation stand where."""

    pending: int
    done: int
    failed: int


class SegmentationSummary(JobDocument):
    """A segmentation, with its photos counted."""

    model_used: Literal["base"] | int | None = Field(description="Known from the start of the work on.")
    depends_on: str | None = Field(description="The adaptation that ends first.")
    item_counts: ItemCounts


class SegmentationDocument(SegmentationSummary):
    """A segmentation, with one entry per photo."""

    items: list[SegmentationItemDocument]


class SegmentationPage(BaseModel):
    """One page of a user's segmentations, newest first."""

    items: list[SegmentationSummary]
    next_cursor: str | None
