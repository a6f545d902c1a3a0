"""`python -m benchmarks.quality`: does personalising help? mIoU and FBIoU of base and personal model, gallery by gallery.

Base: one plain pass of the base network. Personal: one pass of the personal model with its context bank, as the service does it. Where the
guard refuses, the service uses the base, so the column `served` counts the base there. Labels are used for scoring only.
"""

from __future__ import annotations

import json
import resource
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import models
from benchmarks.cameras import CAMERAS
from benchmarks.galleries import REPORTED, Gallery, GalleryRecipe, open_gallery
from models.evaluate import use_run
from models.gallery import network_input
from models.inference import enlarge_labels
from models.metrics import Scorer
from models.preprocess import shrink


@dataclass(frozen=True)
class Row:
    """One gallery's result; scores in percent, times in seconds, memory in MB."""

    gallery: str
    photos: int
    base_miou: float
    base_fbiou: float
    alone_miou: float
    alone_fbiou: float
    personal_miou: float
    personal_fbiou: float
    accepted: bool
    code: str
    adapt_seconds: float
    model_bytes: int
    peak_memory_mb: float
    figures: dict[str, float]

    @property
    def served(self) -> tuple[float, float]:
        """What the user gets: the personal model where the guard kept it, else the base as it serves one photo."""
        return (self.personal_miou, self.personal_fbiou) if self.accepted else (self.alone_miou, self.alone_fbiou)


def score(base: models.Base, gallery: Gallery, personal: models.PersonalModel | None) -> Scorer:
    """As the service segments: one photo at a time."""
    scorer = Scorer(base.classes)
    for index in range(len(gallery.ids)):
        scorer.add(models.segment(base, gallery.load(index), personal).labels, gallery.label(index))
    return scorer


@torch.inference_mode()
def score_plain(base: models.Base, gallery: Gallery) -> Scorer:
    """The base network's own logits, without context."""
    scorer = Scorer(base.classes)
    for index in range(len(gallery.ids)):
        photo = gallery.load(index)
        logits = base.segmenter.base(network_input(shrink(photo, base.info.side)[None], base.info.side, base.device)).logits[0]
        scorer.add(enlarge_labels(logits.cpu(), (photo.shape[0], photo.shape[1]))[0].numpy(), gallery.label(index))
    return scorer


def measure(base: models.Base, gallery: Gallery, config: models.PersonalizeConfig, bar: Progress) -> Row:
    """Adapts to one gallery and scores before and after. The guard's real verdict is kept beside the scores."""
    task = bar.add_task(gallery.recipe.name, total=1.0)
    plain, alone = score_plain(base, gallery), score(base, gallery, None)
    start = time.monotonic()
    result = models.personalize(base, gallery, config, on_progress=lambda p: bar.update(task, completed=p.fraction))
    seconds = time.monotonic() - start
    personal = score(base, gallery, result.candidate)
    bar.remove_task(task)
    return Row(
        gallery=gallery.recipe.name, photos=len(gallery.ids), base_miou=plain.miou, base_fbiou=plain.fbiou,
        alone_miou=alone.miou, alone_fbiou=alone.fbiou, personal_miou=personal.miou, personal_fbiou=personal.fbiou,
        accepted=result.verdict.accepted, code=result.verdict.code, adapt_seconds=seconds,
        model_bytes=len(result.candidate.stored) if result.candidate else 0,
        peak_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, figures=result.verdict.figures,
    )  # fmt: skip


def print_table(rows: list[Row], console: Console) -> None:
    """The figures as a person reads them."""
    table = Table(title="mIoU / FBIoU in percent", caption="served = personal where the guard kept it, else the base")
    for name in ("gallery", "photos", "base (plain)", "base + own context", "personal", "guard", "served gain", "adapt s", "file kB"):
        table.add_column(name, justify="left" if name in ("gallery", "guard") else "right")
    for row in rows:
        gain = np.subtract(row.served, (row.base_miou, row.base_fbiou))
        table.add_row(
            row.gallery,
            str(row.photos),
            f"{row.base_miou:.1f} / {row.base_fbiou:.1f}",
            f"{row.alone_miou:.1f} / {row.alone_fbiou:.1f}",
            f"{row.personal_miou:.1f} / {row.personal_fbiou:.1f}",
            "kept" if row.accepted else f"refused: {row.code}",
            f"{gain[0]:+.1f} / {gain[1]:+.1f}",
            f"{row.adapt_seconds:.0f}",
            f"{row.model_bytes / 1000:.0f}",
        )
    if len(rows) > 1:
        gains = [np.subtract(row.served, (row.base_miou, row.base_fbiou)) for row in rows]
        mean = np.mean(gains, axis=0)
        table.add_section()
        table.add_row("mean", "", "", "", "", "", f"{mean[0]:+.1f} / {mean[1]:+.1f}", "", "")
    console.print(table)


def parse_recipe(text: str) -> GalleryRecipe:
    """`subject[:camera[:seed[:photos[:half]]]]`, e.g. `pets:low_light:3:48:tune`. Raises typer.BadParameter."""
    parts = text.split(":")
    try:
        numbers = [int(part) for part in parts[2:4]]
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: seed and photos are whole numbers") from error
    if len(parts) > 5 or (len(parts) > 1 and parts[1] not in CAMERAS):
        raise typer.BadParameter(f"{text!r}: expected subject[:camera[:seed[:photos[:half]]]], camera one of {', '.join(CAMERAS)}")
    return GalleryRecipe(*parts[:2], *numbers, *parts[4:])


def main(
    data: Annotated[Path, typer.Option(help="Folder with voc2012/val and camvid.")] = Path("../shared/data"),
    gallery: Annotated[
        list[str] | None,
        typer.Option(help="subject[:camera[:seed[:photos[:half]]]]; repeatable. Without: the three reported galleries."),
    ] = None,
    base: Annotated[str, typer.Option(help="Base model.")] = "espnetv2",
    run: Annotated[Path | None, typer.Option(help="A train_base run's state.pt instead of the shipped weights.")] = None,
    budget: Annotated[float, typer.Option(help="Seconds of adaptation.")] = 240.0,
    seed: Annotated[int, typer.Option(help="Seed of the adaptation.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Write the rows as JSON.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a setting, name=value (PersonalizeConfig).")] = None,
) -> None:
    """Print base and personal mIoU / FBIoU of some galleries."""
    loaded = models.load_base(base)
    if run is not None:
        use_run(loaded, run)
    overrides = {name: json.loads(value) for name, _, value in (item.partition("=") for item in set_ or [])}
    overrides = {name: tuple(value) if isinstance(value, list) else value for name, value in overrides.items()}
    config = models.PersonalizeConfig(budget_seconds=budget, seed=seed, **overrides)
    recipes = [parse_recipe(text) for text in gallery] if gallery else list(REPORTED)
    console = Console(width=160)
    rows = []
    with Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console) as bar:
        for recipe in recipes:
            rows.append(measure(loaded, open_gallery(recipe, data), config, bar))
    print_table(rows, console)
    if out is not None:
        out.write_text(json.dumps([asdict(row) for row in rows], indent=2))


if __name__ == "__main__":
    typer.run(main)
