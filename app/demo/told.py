"""What the adaptation's report tells of the changes; a report of an older version tells nothing, and that is fine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ClassChange:
    """A class over all photos that the guard looked at; areas as shares of their pixels."""

    id: int
    name: str
    before: float
    after: float
    reason: str


@dataclass(frozen=True)
class PhotoChange:
    """A photo by the base and by the personal model, as shares of its pixels."""

    image_id: str
    changed: float
    sure_changed: float
    """What changed although the base was sure of it."""
    confidence: tuple[float, float]
    """Mean, before and after."""
    mirror: tuple[float, float]
    """Same class on the mirrored photo, before and after."""
    reason: str


def class_changes(report: Mapping[str, Any]) -> list[ClassChange]:
    """The report's `classes`, in its order."""
    return [
        ClassChange(
            int(_share(entry, "id")), str(entry.get("name", "?")), _share(entry, "area_before"), _share(entry, "area_after"), _reason(entry)
        )
        for entry in _entries(report, "classes")
    ]


def photo_changes(report: Mapping[str, Any]) -> list[PhotoChange]:
    """The report's `photos_compared`, the most changed first."""
    found = [
        PhotoChange(
            str(entry.get("id")),
            _share(entry, "changed"),
            _share(entry, "sure_changed"),
            (_share(entry, "confidence_before"), _share(entry, "confidence_after")),
            (_share(entry, "mirror_before"), _share(entry, "mirror_after")),
            _reason(entry),
        )
        for entry in _entries(report, "photos_compared")
    ]
    return sorted(found, key=lambda change: (-change.changed, change.image_id))


def _entries(report: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    told = report.get(name)
    return (entry for entry in (told if isinstance(told, list) else []) if isinstance(entry, dict))


def _share(entry: Mapping[str, Any], name: str) -> float:
    value = entry.get(name)
    return float(value) if isinstance(value, int | float) else 0.0


def _reason(entry: Mapping[str, Any]) -> str:
    return str(entry.get("reason") or "")
