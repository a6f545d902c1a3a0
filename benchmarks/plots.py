"""Plots of a run: gain bars per gallery, and the before/after sheets gathered. Needs matplotlib (the `bench` extra)."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt

from benchmarks.summary import Row, galleries_of, methods_of
from benchmarks.survey.methods import BASE

COLUMNS = 3
OURS_COLOR, OTHER_COLOR, LOSS_COLOR = "#1b7837", "#7f8fa6", "#c0504d"
LIMITS = (-20.0, 20.0)
"""Points; longer bars are cut there and carry their number."""


def gain_bars(table: Sequence[Row], metric: str, path: Path) -> None:
    """One panel a gallery, one bar a method. `metric`: miou or fbiou."""
    galleries = galleries_of(table)
    methods = [name for name in methods_of(table) if name != BASE]
    lines = math.ceil(len(galleries) / COLUMNS)
    figure, axes = plt.subplots(
        lines, COLUMNS, figsize=(5 * COLUMNS, (0.22 * len(methods) + 1.0) * lines), squeeze=False, sharex=True, layout="constrained"
    )
    for panel, gallery in zip(axes.flat, galleries, strict=False):
        own = {row.method: row for row in table if row.gallery == gallery}
        shown = [name for name in methods if name in own]
        gains = [getattr(own[name], f"{metric}_gain") for name in shown]
        colors = [
            LOSS_COLOR if gain < 0 else OURS_COLOR if _is_ours(name) else OTHER_COLOR for name, gain in zip(shown, gains, strict=True)
        ]
        panel.barh([own[name].title for name in shown], [min(max(gain, LIMITS[0]), LIMITS[1]) for gain in gains], color=colors)
        for place, gain in enumerate(gains):
            panel.text(min(max(gain, 0.0), LIMITS[1]) + 0.3, place, f"{gain:+.1f}", va="center", fontsize=6)
        panel.axvline(0, color="black", linewidth=0.6)
        panel.set_xlim(LIMITS[0] - 1, LIMITS[1] + 4)
        panel.invert_yaxis()
        panel.tick_params(labelsize=7)
        panel.set_title(own[next(iter(own))].gallery_title, fontsize=9)
    for panel in list(axes.flat)[len(galleries) :]:
        panel.set_visible(False)
    figure.suptitle(f"Gain in {'mIoU' if metric == 'miou' else 'FBIoU'} over the base, points", fontsize=10)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _is_ours(name: str) -> bool:
    return name.startswith("ours")


def gather_sheets(cell_files: Sequence[tuple[str, Path]], folder: Path) -> int:
    """Copies the sheets that lie beside cells to `folder/GALLERY.png`. Takes (gallery, cell file); returns how many there were."""
    found = 0
    for gallery, path in cell_files:
        sheet = path.with_suffix(".png")
        if sheet.exists():
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(sheet, folder / f"{gallery.replace('/', '_')}.png")
            found += 1
    return found
