"""Queries of an export; every one is of one user.

What they find is held until the export's last byte is sent: of each row the columns that are used, and nothing of SQLAlchemy's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.tables import Image, Mask

Layer = Literal["labels", "confidence"]
"""What of a mask is exported."""

_ROWS_AT_A_TIME = {"yield_per": 500}


@dataclass(frozen=True, slots=True)
class ExportedImage:
    """A photo of the export."""

    id: str
    filename: str
    sha256: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class ExportedMask:
    """Its mask; `blob_key` is that of the layer that is exported."""

    base: str
    model_version: int
    blob_key: str


def images(session: Session, user_id: str) -> list[ExportedImage]:
    """The gallery in order of arrival."""
    statement = select(Image.id, Image.filename, Image.sha256, Image.width, Image.height).where(Image.user_id == user_id)
    return [ExportedImage(*row) for row in session.execute(statement.order_by(Image.id), execution_options=_ROWS_AT_A_TIME)]


def masks(session: Session, user_id: str, layer: Layer, *, version: int, base: str | None = None) -> dict[str, ExportedMask]:
    """Image id → its mask by this model version (0 = base), the newest where several bases have made one."""
    blob_key = Mask.labels_key if layer == "labels" else Mask.confidence_key
    statement = select(Mask.image_id, Mask.base, blob_key).where(Mask.user_id == user_id, Mask.model_version == version)
    if base is not None:
        statement = statement.where(Mask.base == base)
    rows = session.execute(statement.order_by(Mask.created_at), execution_options=_ROWS_AT_A_TIME)
    return {image_id: ExportedMask(of_base, version, key) for image_id, of_base, key in rows}
