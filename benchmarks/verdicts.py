"""The guard's verdict on a cell, made when the cell is read: a cell keeps what the guard saw, so that another guard costs no new cell."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
from jaxtyping import Int64

from models.bases.registry import BaseInfo
from models.comparison import Comparison
from models.counts import Counts
from models.guard import GuardLimits, judge, judge_appearance, settle
from models.steadiness import AFTER, BEFORE
from models.types import Verdict

STEADINESS = (*BEFORE, *AFTER)
"""What is kept photo by photo: the pairs of which the guard wants to know how much chance is in their sum."""


def counts_to_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison's sums: matrices as [row, column, value] of what is not 0. STEADINESS photo by photo, each matrix one line."""
    photos = {photo_id: {name: _to_line(getattr(counts, name)) for name in STEADINESS} for photo_id, counts in comparison.photos.items()}
    return {"confident_limit": comparison.confident_limit, **_to_json(comparison.total), "by_photo": photos}


def comparison_from(stored: dict[str, Any], classes: int) -> Comparison:
    """The comparison that a cell stored; of its photos it knows what STEADINESS names, and nothing in cells of before 2026-11-29.

    Raises KeyError where the cell is of an older comparison.
    """
    comparison = Comparison(classes, stored["confident_limit"])
    comparison.total = _from_json(stored, classes)
    for photo_id, lines in stored.get("by_photo", {}).items():
        steadiness: dict[str, Any] = {name: _from_line(line, classes) for name, line in lines.items()}
        comparison.photos[photo_id] = replace(Counts.none(classes), **steadiness)
    return comparison


def verdict_of(cell: dict[str, Any], info: BaseInfo, limits: GuardLimits | None = None) -> Verdict:
    """Today's verdict on what the cell keeps. A method that ended with the base by itself keeps its own."""
    limits, names = limits or GuardLimits(), tuple(info.class_names)
    if cell.get("learned") is not None:
        if cell.get("shown") is not None:  # cells of before 2026-11-30 do not have it
            refusal = judge_appearance(comparison_from(cell["shown"], len(names)), cell["shown_as"], limits, names)
            if refusal is not None:
                return refusal
        return settle(comparison_from(cell["learned"], len(names)), cell["shown_as"], limits, names)
    if "own_verdict" in cell:
        return Verdict(**cell["own_verdict"])
    return judge(comparison_from(cell["counts"], len(names)), limits, names)


def served(cell: dict[str, Any], verdict: Verdict) -> dict[str, float | None]:
    """What a user would see under a verdict, in percent: the adapted model, or the appearance alone, or the base."""
    source = {"accepted": "", "appearance_only": "unlearned_"}.get(verdict.code, "base_")
    return {f"served_{metric}": cell[f"{source}{metric}"] for metric in ("miou", "fbiou")}


def judged(cell: dict[str, Any], info: BaseInfo) -> dict[str, Any]:
    """The cell with today's verdict and what is served under it."""
    verdict = verdict_of(cell, info)
    return {**cell, "guard": verdict.to_json(), **served(cell, verdict)}


def _to_json(counts: Counts) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in vars(counts).items():
        if isinstance(value, np.ndarray) and value.ndim == 1:
            found[name] = value.tolist()
        elif isinstance(value, np.ndarray):
            found[name] = [[int(row), int(column), _number(value[row, column])] for row, column in np.argwhere(value)]
        else:
            found[name] = value if isinstance(value, int) else round(float(value), 3)
    return found


def _from_json(stored: dict[str, Any], classes: int) -> Counts:
    """Cells of before 2026-11-23 do not tell photos apart: as of none, every class of theirs counts."""
    values: dict[str, Any] = {"photos": stored.get("photos", 0), "sure_photos": np.array(stored.get("sure_photos", [0] * classes))}
    for field in fields(Counts):
        if field.name in values:
            continue
        found = stored[field.name]
        if isinstance(found, list):
            matrix = np.zeros((classes, classes), np.float64 if field.name.startswith("confidence") else np.int64)
            for row, column, value in found:
                matrix[row, column] = value
            values[field.name] = matrix
        else:
            values[field.name] = found
    return Counts(**values)


def _to_line(pairs: Int64[np.ndarray, "classes classes"]) -> str:
    return " ".join(f"{row}:{column}:{int(pairs[row, column])}" for row, column in np.argwhere(pairs))


def _from_line(line: str, classes: int) -> Int64[np.ndarray, "classes classes"]:
    pairs = np.zeros((classes, classes), np.int64)
    for row, column, pixels in (map(int, entry.split(":")) for entry in line.split()):
        pairs[row, column] = pixels
    return pairs


def _number(value: np.generic) -> int | float:
    return int(value) if isinstance(value, np.integer) else round(float(value), 2)
