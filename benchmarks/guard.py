"""`python -m benchmarks.guard`: how often does the guard refuse a model that is worse than the base, and how often one that is better?

Reads the cached cells of all methods (`python -m benchmarks.quality --guard` computes them); every cell holds a label-free comparison
of the base with what was adapted, and is judged as it is read, by the guard as it is now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.cells import RESULTS, CellSpec, CellStore
from benchmarks.recipes import Kind
from benchmarks.runner import known_bases
from benchmarks.summary import refused
from benchmarks.survey.methods import BASE, METHODS
from benchmarks.verdicts import judged
from models.bases.registry import BaseInfo

WORSE = -0.5
"""mIoU points: a model is worse from this loss on, better from any gain on; in between, either verdict is right."""
REFUSE_WORSE, REFUSE_BETTER = 0.95, 0.10
"""Goals: at least this share of the worse refused, at most that share of the better."""


@dataclass(frozen=True)
class Judged:
    """An adapted model: what it gained in truth, and what the guard said."""

    method: str
    gallery: str
    kind: Kind
    gain: float | None
    """mIoU points over the base; None for junk."""
    accepted: bool
    """The adapted model itself; not so where its appearance alone was kept (`benchmarks.summary.refused`)."""
    code: str
    changed_share: float

    @property
    def worse(self) -> bool:
        """Should have been refused."""
        return self.gain is not None and self.gain < WORSE

    @property
    def better(self) -> bool:
        """Should have been kept."""
        return self.gain is not None and self.gain > 0


def judged_models(cells: Sequence[dict[str, Any]]) -> list[Judged]:
    """Every adapted model among the cells (the base itself is left out)."""
    found = []
    for cell in cells:
        if cell["method"] == BASE:
            continue
        gain = None if cell["miou"] is None or cell["base_miou"] is None else cell["miou"] - cell["base_miou"]
        verdict, changed = cell["guard"], cell["figures"]["changed_share"]
        found.append(Judged(cell["method"], cell["gallery"], Kind(cell["kind"]), gain, not refused(verdict), verdict["code"], changed))
    return found


def share_refused(models: Sequence[Judged]) -> tuple[int, int]:
    """(refused, all)."""
    return sum(not model.accepted for model in models), len(models)


def guard_table(models: Sequence[Judged]) -> Table:
    """Method by method: of the worse and of the better ones, how many were refused."""
    table = Table(title="Refused by the guard", caption=f"worse: by more than {-WORSE} mIoU than the base; better: any gain")
    for name in ("method", "models", "worse", "of them refused", "better", "of them refused", "mean gain"):
        table.add_column(name, justify="left" if name == "method" else "right")
    scored = [model for model in models if model.gain is not None]
    for method in [name for name in METHODS if any(model.method == name for model in scored)]:
        table.add_row(METHODS[method].title, *_line([model for model in scored if model.method == method]))
    table.add_section()
    table.add_row("all", *_line(scored))
    return table


def _line(models: Sequence[Judged]) -> list[str]:
    worse, better = [model for model in models if model.worse], [model for model in models if model.better]
    gain = np.mean([model.gain for model in models if model.gain is not None]) if models else float("nan")
    return [str(len(models)), str(len(worse)), _share(worse), str(len(better)), _share(better), f"{gain:+.1f}"]


def _share(models: Sequence[Judged]) -> str:
    count, total = share_refused(models)
    return f"{count} ({count / total:.0%})" if total else ""


def main(
    out: Annotated[Path, typer.Option(help="The results folder of `benchmarks.quality`.")] = RESULTS,
    stale: Annotated[bool, typer.Option("--stale", help="Read cells of older code, too, with the verdicts that they hold.")] = False,
    wrong: Annotated[bool, typer.Option("--wrong", help="Name every model that was judged wrongly.")] = False,
) -> None:
    """Print the guard's table over all cached cells. Ends with status 1 where a goal is missed."""
    console, infos, store = Console(width=160), known_bases(), CellStore(out / "cells")
    cells = [(cell, current(cell, infos, store)) for cell in store.all() if cell["method"] in METHODS]
    models = judged_models([judged(cell, infos[cell["spec"]["base"]]) if today else cell for cell, today in cells if today or stale])
    console.print(guard_table(models))
    for model in models:
        if model.kind is Kind.JUNK:
            outcome = f"refused: {model.code}" if not model.accepted else f"accepted, {model.changed_share:.2%} of the pixels changed"
            console.print(f"junk  {model.gallery:36} {model.method:20} {outcome}", highlight=False)
        elif wrong and ((model.worse and model.accepted) or (model.better and not model.accepted)):
            console.print(f"wrong {model.gallery:36} {model.method:20} {model.gain:+.1f} mIoU, {model.code}", highlight=False)
    worse, better = share_refused([m for m in models if m.worse]), share_refused([m for m in models if m.better])
    met = worse[0] >= REFUSE_WORSE * worse[1] and better[0] <= REFUSE_BETTER * better[1]
    goals = f"refuse ≥ {REFUSE_WORSE:.0%} of the worse, ≤ {REFUSE_BETTER:.0%} of the better"
    console.print(f"{len(models)} models; goals ({goals}): {'met' if met else 'missed'}", highlight=False)
    if not met:
        raise typer.Exit(1)


def current(cell: dict[str, Any], infos: dict[str, BaseInfo], store: CellStore) -> bool:
    """Whether the cell is what today's code would be looking for."""
    spec = CellSpec.from_json(cell["spec"])
    found = store.read(spec, infos[spec.base]) if spec.base in infos else None
    return found is not None and found["key"] == cell["key"]


if __name__ == "__main__":
    typer.run(main)
