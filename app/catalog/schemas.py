"""What bases and classes look like from outside."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

BaseName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]


class ClassDocument(BaseModel):
    """One class of a base; its id is the value in the mask."""

    id: int
    name: str
    color: tuple[int, int, int] = Field(description="Red, green, blue, each 0–255.")


class ClassList(BaseModel):
    """The classes of one base."""

    base: str
    items: list[ClassDocument]


class BaseDocument(BaseModel):
    """A base model."""

    name: str
    title: str
    licence: str
    is_default: bool
    scores: dict[str, Any]
    context: str = Field(description="Inter-image context: `trained`, or `non-parametric` where nobody has trained one for this base.")
    weights_present: bool = Field(description="Whether a worker has its weights; otherwise the first job that asks for it fetches them.")
    classes: list[ClassDocument]


class BaseList(BaseModel):
    """The base models available."""

    items: list[BaseDocument]
