"""A cell: one method on one gallery with one seed. Each is cached as a readable JSON file under a key of everything it depends on.

The key hashes the method's own code (and what it imports, without comments and docstrings), the base's weights, the recipe, the camera, the
seed, the budget and the device. Code that only reads cells (tables, plots, this file) is not in it.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.code_hash import closure, code_hash
from benchmarks.recipes import GalleryRecipe
from benchmarks.survey.methods import METHODS
from models.bases.registry import BaseInfo

RESULTS = Path(__file__).resolve().parent / "results"
SOURCE = "voc2012/train"
SCORING_VERSION = 1
"""To be raised when `benchmarks.scoring` or `benchmarks.cell` change what a cell holds."""
SCORING = ("benchmarks.cameras", "benchmarks.galleries", "models.metrics", "models.preprocess", "models.gallery")
"""Modules whose code every cell depends on."""
LEFT_OUT = frozenset(
    {
        "models", "models.types", "models.datasets", "models.labels", "models.evaluate", "models.source", "models.explain", "models.guard",
        "models.bases", "models.bases.registry", "models.bases.info", "models.bases.fetch", "models.bases.weights", "benchmarks.recipes",
    }
)  # fmt: skip
"""Modules that cells import and whose changes do not change a cell: types, file formats, words, lists of what there is, and the guard (its
verdict is made when a cell is read)."""


@dataclass(frozen=True)
class CellSpec:
    """What to compute."""

    method: str
    gallery: GalleryRecipe
    seed: int = 0
    base: str = "espnetv2"
    budget_seconds: float = 240.0
    epochs: int = 4
    device: str = "cpu"
    settings: dict[str, Any] = field(default_factory=dict)
    """Overrides of PersonalizeConfig, for ours."""
    album: str | None = None
    """What is in the folder of a PSS user (`benchmarks.album`): another data set, or a mended mask, is another cell."""
    source: str = SOURCE
    """Folder of the labelled source photos, inside the data folder or absolute; read by the methods that need one."""

    @property
    def name(self) -> str:
        """For a reader."""
        return f"{self.method} · {self.gallery.name} · seed {self.seed}"

    def of_base(self) -> CellSpec:
        """The cell of the base's plain scores on the same gallery; it depends on no seed, budget or setting."""
        return replace(self, method="source_only", seed=0, settings={}, budget_seconds=0.0, epochs=0, source=SOURCE)

    def to_json(self) -> dict[str, Any]:
        """For the child process, and for the key; without `album` where there is none, as in the keys of old."""
        values = asdict(self)
        return values if self.album is not None else {name: value for name, value in values.items() if name != "album"}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> CellSpec:
        """What `to_json` gave."""
        return cls(**{**values, "gallery": GalleryRecipe(**values["gallery"])})


def normalised(spec: CellSpec) -> CellSpec:
    """The same cell for all seeds, budgets and sources where they change nothing."""
    if spec.method == "source_only":
        return spec.of_base()
    return spec if METHODS[spec.method].method.needs_source else replace(spec, source=SOURCE)


def cell_key(spec: CellSpec, info: BaseInfo) -> str:
    """64 hex digits; the same exactly where the cell would come out the same."""
    spec = normalised(spec)
    method = METHODS[spec.method].method
    starts = [type(method).__module__, *SCORING, _architecture(info)]
    parts = {
        "spec": spec.to_json(),
        "scoring": SCORING_VERSION,
        "method": repr(method),
        "weights": info.sha256,
        "side": info.side,
        "code": code_hash(closure(starts, LEFT_OUT)),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _architecture(info: BaseInfo) -> str:
    """The module that holds the base's network."""
    return "models.bases.espnetv2" if info.name.startswith("espnetv2") else info.network.__module__


@dataclass(frozen=True)
class CellStore:
    """The folder of cached cells."""

    root: Path = RESULTS / "cells"

    def path(self, spec: CellSpec, info: BaseInfo) -> Path:
        """Where a cell is kept: a name that a person can read, and the key's first 16 digits."""
        spec = normalised(spec)
        name = f"{spec.gallery.name}--{spec.method}--{spec.seed}--{cell_key(spec, info)[:16]}.json"
        return self.root / name.replace("/", "_")

    def read(self, spec: CellSpec, info: BaseInfo) -> dict[str, Any] | None:
        """The cell, or None where it is not there, or its key differs in more than its first digits."""
        path = self.path(spec, info)
        if not path.exists():
            return None
        cell: dict[str, Any] = json.loads(path.read_text())
        return cell if cell["key"] == cell_key(spec, info) else None

    def write(self, spec: CellSpec, info: BaseInfo, cell: dict[str, Any]) -> Path:
        """Atomically: temporary name, then rename."""
        path = self.path(spec, info)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.part")
        partial.write_text(json.dumps({"key": cell_key(spec, info), **cell}, indent=1, allow_nan=False))
        partial.replace(path)
        return path

    def all(self) -> list[dict[str, Any]]:
        """Every cell on disk, also of older code."""
        return [json.loads(path.read_text()) for path in sorted(self.root.glob("*.json"))]
