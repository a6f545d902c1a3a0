"""From cells to the figures of a table: means over seeds, then over the galleries of a kind."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Any

from benchmarks.recipes import GalleryRecipe, Kind
from benchmarks.survey.methods import BASE, METHODS, SURVEY

UNGUARDED = "ours_without_guard"
"""A row made from the cells of `ours`: what its candidates would have scored, had nobody asked the guard."""
MEANS: tuple[tuple[Kind, str], ...] = (
    (Kind.SHIFTED, "camera-shifted"),
    (Kind.UNTOUCHED, "untouched"),
    (Kind.CAMVID, "CamVid"),
    (Kind.PSS, "PSS"),
)
"""The means that are shown, where there is a gallery of the kind."""


@dataclass(frozen=True)
class Row:
    """One method on one gallery, mean over its seeds. Scores in percent, gains in points over the base's plain pass."""

    method: str
    title: str
    gallery: str
    gallery_title: str
    kind: Kind
    seeds: int
    miou: float
    fbiou: float
    miou_gain: float
    fbiou_gain: float
    spread: float
    """Standard deviation of the mIoU over the seeds, in points."""
    seconds: float
    """Of the clock, for the adaptation."""
    core_seconds: float
    """Of one processor core, for the same: what other work beside it changes least."""
    memory_mb: float
    refused: int
    """Of how many seeds the guard refused what was trained (told for ours alone; there the appearance's or the base's scores count)."""


@dataclass(frozen=True)
class Mean:
    """One method over all galleries of a kind."""

    galleries: int
    miou: float
    fbiou: float
    miou_gain: float
    fbiou_gain: float


@dataclass(frozen=True)
class Duel:
    """A method of the survey beside ours on the galleries that both were measured on; gains in points over the base's plain pass."""

    title: str
    galleries: int
    miou_gain: float
    fbiou_gain: float
    ours_miou_gain: float
    ours_fbiou_gain: float
    ahead: int
    """Galleries on which ours has the larger gain in mIoU."""


def refused(verdict: dict[str, Any]) -> bool:
    """Whether the guard refused what was trained, whose scores a cell's mIoU and FBIoU are.

    The code is `accepted` for a trained model alone. Under `appearance_only` the service accepts something, too, but that is the base with
    photos shown otherwise (`models.guard.settle`).
    """
    return bool(verdict["code"] != "accepted")


def rows(cells: Iterable[dict[str, Any]]) -> list[Row]:
    """One row per method and gallery, in the order of the cells; without junk, which has no scores, and the guard's own entries."""
    scored = [cell for cell in cells if cell["miou"] is not None and cell["fbiou"] is not None and not cell["for_guard_only"]]
    grouped: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for cell in scored:
        grouped.setdefault((cell["method"], cell["gallery"]), []).append(cell)
        if cell["method"] == "ours":
            grouped.setdefault((UNGUARDED, cell["gallery"]), []).append(cell)
    return [_row(method, group) for (method, _), group in grouped.items()]


def _row(method: str, cells: Sequence[dict[str, Any]]) -> Row:
    first, entry = cells[0], METHODS.get(method)
    guarded = entry is not None and entry.ours
    prefix = "served_" if guarded else ""
    mious, fbious = [cell[f"{prefix}miou"] for cell in cells], [cell[f"{prefix}fbiou"] for cell in cells]
    return Row(
        method=method,
        title="ours, without guard" if entry is None else entry.title,
        gallery=first["gallery"],
        gallery_title=GalleryRecipe(**first["spec"]["gallery"]).title,
        kind=Kind(first["kind"]),
        seeds=len(cells),
        miou=fmean(mious),
        fbiou=fmean(fbious),
        miou_gain=fmean(mious) - first["base_miou"],
        fbiou_gain=fmean(fbious) - first["base_fbiou"],
        spread=pstdev(mious),
        seconds=fmean(cell["seconds"] for cell in cells),
        core_seconds=fmean(cell["cpu_seconds"] for cell in cells),
        memory_mb=max(cell["peak_memory_mb"] for cell in cells),
        refused=sum(refused(cell["guard"]) for cell in cells) if guarded else 0,
    )


def methods_of(table: Sequence[Row]) -> list[str]:
    """Each method once, in the order of the table of methods."""
    found = list(dict.fromkeys(row.method for row in table))
    order = {name: place for place, name in enumerate(METHODS)} | {UNGUARDED: list(METHODS).index("ours") + 0.5}
    return sorted(found, key=lambda name: order[name])


def galleries_of(table: Sequence[Row]) -> list[str]:
    """Each gallery once, in the order in which they come."""
    return list(dict.fromkeys(row.gallery for row in table))


def mean(table: Sequence[Row], method: str, kind: Kind) -> Mean | None:
    """Over the galleries of a kind; None where the method lacks one that others have (a mean over fewer would mislead)."""
    wanted = {row.gallery for row in table if row.kind is kind}
    own = [row for row in table if row.method == method and row.kind is kind]
    if not own or {row.gallery for row in own} != wanted:
        return None
    values = {name: fmean(getattr(row, name) for row in own) for name in ("miou", "fbiou", "miou_gain", "fbiou_gain")}
    return Mean(len(own), **values)


def duels(table: Sequence[Row]) -> list[Duel]:
    """Every method of the survey beside ours, in the order of the table of methods; not the base, nor those that share no gallery."""
    ours = {row.gallery: row for row in table if row.method == "ours"}
    rivals = [method for method in methods_of(table) if method in SURVEY and method != BASE]
    pairs = {method: [(row, ours[row.gallery]) for row in table if row.method == method and row.gallery in ours] for method in rivals}
    return [_duel(found) for found in pairs.values() if found]


def _duel(pairs: Sequence[tuple[Row, Row]]) -> Duel:
    return Duel(
        title=pairs[0][0].title,
        galleries=len(pairs),
        miou_gain=fmean(row.miou_gain for row, _ in pairs),
        fbiou_gain=fmean(row.fbiou_gain for row, _ in pairs),
        ours_miou_gain=fmean(ours.miou_gain for _, ours in pairs),
        ours_fbiou_gain=fmean(ours.fbiou_gain for _, ours in pairs),
        ahead=sum(ours.miou_gain > row.miou_gain for row, ours in pairs),
    )


def kinds_of(table: Sequence[Row]) -> list[tuple[Kind, str]]:
    """The means that the table has galleries for."""
    present = {row.kind for row in table}
    return [(kind, title) for kind, title in MEANS if kind in present]
