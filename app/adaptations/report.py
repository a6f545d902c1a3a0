"""An adaptation's report, described for the OpenAPI schema.

A report is served exactly as it was stored: what an older version wrote, with fewer fields or others, stays readable. So these
models describe what this version writes; they check nothing and drop nothing.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

Share = Annotated[float, Field(ge=0, le=1)]


class _Described(BaseModel):
    model_config = ConfigDict(extra="allow")


class GuardVerdict(_Described):
    """The guard's decision; it needs no labels."""

    accepted: bool = Field(description="Whether the personal model is in use.")
    code: str
    sentence: str = Field(description="Why, for people.")
    figures: dict[str, float] = Field(
        description="`…_before` and `…_after` what the sentence speaks of: the training (photos shown alike), or the appearance alone."
    )


class ClassChange(_Described):
    """One class over all photos compared. Areas are shares of all their pixels; null where there is nothing to take a mean of."""

    id: int
    name: str
    area_before: Share
    area_after: Share
    sure_before: Share = Field(description="Area that the base is sure of.")
    sure_kept: Share | None = Field(description="The share of that area that keeps this class.")
    confidence_before: Share | None
    confidence_after: Share | None
    mirror_iou_before: Share | None = Field(description="Agreement with the prediction on the mirrored photos, as intersection over union.")
    mirror_iou_after: Share | None
    rescale_iou_before: Share | None = Field(None, description="The same with the photos at another size; only where that was looked at.")
    rescale_iou_after: Share | None = None
    reason: str = Field(description="What changed and why, for people.")


class PhotoClassChange(_Described):
    """One class in one photo, as shares of its pixels."""

    id: int
    name: str
    before: Share
    after: Share


class PhotoChange(_Described):
    """One photo by the base and by the personal model; shares of its pixels."""

    id: str = Field(description="The image id.")
    changed: Share = Field(description="Pixels whose class differs.")
    sure_changed: Share = Field(description="Those of them that the base was sure of.")
    confidence_before: Share
    confidence_after: Share
    mirror_before: Share = Field(description="Pixels of the same class on the mirrored photo, by the base.")
    mirror_after: Share
    rescale_before: Share | None = Field(None, description="The same with the photo at another size; only where that was looked at.")
    rescale_after: Share | None = None
    classes: list[PhotoClassChange] = Field(description="At most 8, largest first; slivers are left out.")
    reason: str = Field(description="What changed and why, for people.")


class PhotoGroup(_Described):
    """Similar photos, which lend each other context."""

    index: int
    photos: list[str]
    size: int


class Appearance(_Described):
    """How photos are shown to the network: RGB · gain + offset, clipped to [0, 255], squashed to `side` pixels."""

    kind: str = Field(description="`as it is`, or `light` or `colour` and how far it was moved towards the training photos'.")
    gain: list[float]
    offset: list[float]
    side: int
    distances: dict[str, float] = Field(description="Of each candidate: the statistics' distance from training, in nats.")


class PhotoLeftOut(_Described):
    """A photo that the adaptation went on without."""

    id: str = Field(description="The image id.")
    reason: str = Field(description="Why, for people.")


class StageSeconds(_Described):
    """A part of the adaptation and what it took."""

    name: str
    seconds: float


class AdaptationReport(_Described):
    """What an adaptation did: before and after, and the guard's verdict. Reports of older versions lack the later fields."""

    base: str | None = None
    photos: int | None = Field(None, description="In the gallery.")
    photos_until: datetime | None = Field(None, description="When the newest of these came: later photos were not seen.")
    verdict: GuardVerdict | None = None
    stages: list[StageSeconds] | None = None
    seconds: float | None = None
    budget_reached: bool | None = None
    settings: dict[str, Any] | None = None
    groups: list[PhotoGroup] | None = Field(
        None, description="Every photo of the gallery in its group. Lists leave it out: read the adaptation itself."
    )
    photos_seen: int | None = None
    photos_alike: int | None = Field(None, description="Of those seen, copies of a photo that is learned from.")
    photos_learned_from: int | None = None
    photos_held_out: int | None = Field(None, description="Not learned from: only the guard looked at them.")
    photos_left_out: list[PhotoLeftOut] | None = Field(None, description="Photos that were deleted meanwhile or cannot be read.")
    checkpoint: dict[str, Any] | None = Field(
        None,
        description="Only after an interruption: `resumed_from` (a stage) and `seconds_before`, or why a checkpoint was `left_aside`.",
    )
    appearance: Appearance | None = Field(None, description="How the gallery's photos are shown to the personal model.")
    alignment: dict[str, Any] | None = Field(None, description="Only where an operator has configured source photos.")
    pseudo_labels: dict[str, Any] | None = None
    training: dict[str, Any] | None = None
    classes: list[ClassChange] | None = Field(None, description="Each class found, largest first. Absent where nothing was trained.")
    photos_compared: list[PhotoChange] | None = Field(
        None, max_length=48, description="Photos that the guard looked at, most changed first. Absent where nothing was trained."
    )


class _DescribedAs:
    """Gives a field the JSON schema of `model`, and leaves its values alone."""

    def __init__(self, model: type[BaseModel]) -> None:
        self._model = model

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(self._model.__pydantic_core_schema__)


Report = Annotated[dict[str, Any], _DescribedAs(AdaptationReport)]
