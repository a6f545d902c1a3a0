"""Computes one cell. `python -m benchmarks.cell`, with the cell's spec as JSON on stdin, is what the runner starts for each:

a process of its own, so that the peak memory is the cell's.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.album import album_of
from benchmarks.cells import CellSpec, CellStore, cell_key, normalised
from benchmarks.galleries import UserGallery, open_gallery
from benchmarks.recipes import Kind
from benchmarks.scoring import BATCH, Scores, compare, masks_by_segment, masks_of, score, small_photos
from benchmarks.sheets import save_sheet
from benchmarks.survey.guarded import Guarded
from benchmarks.survey.interface import Adapted, Problem
from benchmarks.survey.methods import BASE, METHODS
from benchmarks.verdicts import counts_to_json, judged
from models.bases.registry import Base, load_base
from models.datasets import LabelledFolder
from models.source import open_source


def compute(spec: CellSpec, base: Base, gallery: UserGallery, source: LabelledFolder | None, before: Scores | None) -> tuple[Any, ...]:
    """Adapts and scores. Returns the cell (JSON) and the masks; `before`: the base's plain scores, None for the base itself."""
    entry = METHODS[spec.method]
    torch.manual_seed(spec.seed)
    pixels = small_photos(gallery, base.info.side)
    problem = Problem(base, gallery, pixels, source, spec.budget_seconds, spec.epochs, BATCH, spec.seed, spec.settings)
    start, cpu_start = time.monotonic(), time.process_time()
    adapted = entry.method.adapt(problem)
    seconds, cpu_seconds = time.monotonic() - start, time.process_time() - cpu_start
    start = time.monotonic()
    masks = list(masks_of(base, gallery, adapted))
    after = score(base, gallery, masks)
    scoring_seconds = time.monotonic() - start
    cell = {
        "method": spec.method,
        "title": entry.title,
        "for_guard_only": entry.for_guard_only,
        "gallery": spec.gallery.name,
        "kind": str(spec.gallery.kind),
        "seed": spec.seed,
        "photos": len(gallery.ids),
        "scored_photos": len(gallery.scored),
        **_scores(after, before or after),
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu_seconds, 2),
        "scoring_seconds": round(scoring_seconds, 2),
        "model_bytes": adapted.model_bytes,
        "note": adapted.note,
        **_guard(base, gallery, pixels, adapted),
        "spec": spec.to_json(),
        "precision": str(next(base.segmenter.parameters()).dtype),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    return judged(cell, base.info), masks


def _scores(after: Scores, before: Scores) -> dict[str, Any]:
    photos = {photo: {"before": before.photo_fbiou[photo], "after": value} for photo, value in after.photo_fbiou.items()}
    return {
        "miou": after.miou, "fbiou": after.fbiou, "base_miou": before.miou, "base_fbiou": before.fbiou,
        "class_iou": after.class_iou, "base_class_iou": before.class_iou, "photo_fbiou": photos,
    }  # fmt: skip


def _guard(base: Base, gallery: UserGallery, pixels: torch.Tensor, adapted: Adapted) -> dict[str, Any]:
    """What the guard judges, and the scores of what is served where it refuses what was learned (`benchmarks.verdicts`)."""
    comparison = compare(base, gallery, pixels, adapted)
    found: dict[str, Any] = {
        "figures": {name: round(value, 5) for name, value in comparison.figures().items()},
        "counts": counts_to_json(comparison),
    }
    if adapted.verdict is not None:
        found["own_verdict"] = adapted.verdict.to_json()
    if isinstance(adapted, Guarded) and adapted.learned is not None:
        found |= {"learned": counts_to_json(adapted.learned), "shown_as": adapted.shown_as}
        if adapted.shown is not None:
            found["shown"] = counts_to_json(adapted.shown)
    if adapted.served is not None:
        scores = score(base, gallery, list(masks_by_segment(gallery, adapted.served)))
        found |= {"unlearned_miou": scores.miou, "unlearned_fbiou": scores.fbiou}
    return found


def base_scores(spec: CellSpec, base: Base, gallery: UserGallery, store: CellStore) -> tuple[Scores, list[np.ndarray] | None]:
    """The base's plain scores on the gallery from the store, or computed and kept there (then with the masks)."""
    cell = store.read(spec.of_base(), base.info)
    masks = None
    if cell is None:
        cell, masks = compute(spec.of_base(), base, gallery, None, None)
        store.write(spec.of_base(), base.info, {**cell, "peak_memory_mb": peak_memory_mb()})
    photos = {photo: values["after"] for photo, values in cell["photo_fbiou"].items()}
    return Scores(cell["miou"], cell["fbiou"], cell["class_iou"], photos), masks


def run_cell(spec: CellSpec, data: Path, pss: Path | None, store: CellStore) -> Path:
    """Computes a cell and stores it. Returns its file. Raises RuntimeError where the code on disk changed meanwhile."""
    base = load_base(spec.base, device=spec.device)
    gallery = open_gallery(spec.gallery, data, pss)
    spec = normalised(spec)
    _require_album(spec, pss)
    key = cell_key(spec, base.info)
    before, base_masks = base_scores(spec, base, gallery, store)
    if spec.method == BASE:
        return store.path(spec, base.info)
    entry = METHODS[spec.method]
    source = open_source(data / spec.source) if entry.method.needs_source else None
    cell, masks = compute(spec, base, gallery, source, before)
    _require_album(spec, pss)
    if cell_key(spec, base.info) != key:
        raise RuntimeError("code changed while the cell was computed, so it is not known whose result this is: run again")
    path = store.write(spec, base.info, {**cell, "peak_memory_mb": peak_memory_mb()})
    if entry.ours and spec.gallery.kind is not Kind.JUNK:
        save_sheet(path.with_suffix(".png"), cell["photo_fbiou"], base, gallery, masks, base_masks)
    return path


def _require_album(spec: CellSpec, pss: Path | None) -> None:
    """Raises RuntimeError where the photos or masks are not those that the cell is named after."""
    if spec.album is not None and album_of(spec.gallery, pss) != spec.album:
        raise RuntimeError(f"the files of {spec.gallery.subject} have changed since the run began: run again")


def peak_memory_mb() -> float:
    """The largest resident memory of this process so far, in MB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def main() -> None:
    """Reads `{spec, data, pss, store}` from stdin, computes, prints the file's path."""
    order = json.load(sys.stdin)
    spec = CellSpec.from_json(order["spec"])
    spec = replace(spec, settings={name: tuple(v) if isinstance(v, list) else v for name, v in spec.settings.items()})
    pss = Path(order["pss"]) if order["pss"] else None
    print(run_cell(spec, Path(order["data"]), pss, CellStore(Path(order["store"]))))


if __name__ == "__main__":
    main()
