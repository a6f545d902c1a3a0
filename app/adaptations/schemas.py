"""What adaptations look like from outside."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from app.adaptations.report import Report
from app.catalog.schemas import BaseName
from app.job_documents import JobDocument


class NewAdaptation(BaseModel):
    """An adaptation to be started; everything has a default."""

    model_config = ConfigDict(extra="forbid")
    budget_seconds: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Wall-clock bound; the best model found by then counts."
    )
    base: BaseName | None = Field(
        None, description="A name of `GET /v1/bases`. Without: the one named for the model in use, else the service's default."
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Same photos, same seed, same model.")


class AdaptationDocument(JobDocument):
    """An adaptation; `refused` means that the guard kept the base, and `error_reason` says why."""

    report: Report | None = Field(description="Before and after, and the guard's verdict; null until the job has ended.")


class AdaptationPage(BaseModel):
    """One page of a user's adaptations, newest first; their reports come without `groups`."""

    items: list[AdaptationDocument]
    next_cursor: str | None
