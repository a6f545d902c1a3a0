"""`python -m models.evaluate`: scores a base on a labelled folder: plain, with its own context, and with the context of its group mates.

Plain: the base network's own logits. Alone: each photo by itself through the context module. Group: photos of one K-means group together,
at most 8 at a time (METHOD, "Group batches"). Logits are resized bilinearly to the label's own size. Labels are used for scoring only.
"""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from models.arguments import refused_arguments
from models.bases.fetch import read_state
from models.bases.registry import Base, load_base
from models.datasets import LabelledFolder, UnusableFile
from models.gallery import network_input
from models.grouping import GROUP_SIZE, describe, group_photos, group_runs
from models.metrics import Scorer
from models.preprocess import enlarge, shrink

MODES = ("plain", "alone", "group")


class Half(StrEnum):
    """Which photos are scored."""

    ALL = "all"
    TUNE = "tune"
    REPORT = "report"


def tuning_half(stem: str) -> bool:
    """Whether a photo of `voc2012/val` is for tuning (the other half is for reporting): by the first bit of the id's sha256."""
    return hashlib.sha256(stem.encode()).digest()[0] < 128


@torch.inference_mode()
def describe_folder(base: Base, folder: LabelledFolder) -> np.ndarray:
    """One description a photo."""
    rows = []
    for index in track(range(len(folder)), "describing"):
        x = network_input(shrink(folder.load(index), base.info.side)[None], 224, base.device)
        rows.append(describe(base.segmenter.base(x).deep)[0])
    return np.stack(rows)


@torch.inference_mode()
def evaluate(base: Base, folder: LabelledFolder, *, side: int, seed: int = 0) -> dict[str, Scorer]:
    """Scores of each mode over the folder's photos. Raises UnusableFile for one that holds other classes than the base's."""
    groups, _ = group_photos(describe_folder(base, folder), seed=seed)
    scorers = {mode: Scorer(base.classes) for mode in MODES}
    for run in track(group_runs(groups, GROUP_SIZE), "scoring"):
        x = torch.cat([network_input(shrink(folder.load(i), side)[None], side, base.device) for i in run])
        grouped = base.segmenter(x)
        alone = base.segmenter.with_context(grouped.features, groups=torch.arange(len(run), device=x.device))
        for mode, logits in zip(MODES, (grouped.features.logits, alone, grouped.logits), strict=True):
            for row, index in zip(logits, run, strict=True):
                _score(scorers[mode], row, folder.label(index))
    return scorers


def _score(scorer: Scorer, logits: Tensor, label: np.ndarray) -> None:
    size = (label.shape[0], label.shape[1])
    scorer.add(enlarge(logits.float().cpu(), size).argmax(0).to(torch.uint8).numpy(), label)


def use_run(base: Base, state: Path) -> None:
    """Puts the running mean of a `train_base` run (its state.pt) into a loaded base. Raises ValueError where it does not fit, OSError."""
    try:
        base.segmenter.load_state_dict(read_state(state)["mean"], strict=True)
    except (KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"{state} is not the state of a run that trained {base.info.name}") from error


def main(
    data: Annotated[Path, typer.Option(help="Labelled folder: images/ + masks/, or JPEGImages/ + SegmentationClass/.")],
    base: Annotated[str, typer.Option(help="Base to score.")] = "espnetv2",
    run: Annotated[Path | None, typer.Option(help="Score a train_base run's state.pt instead of the shipped weights.")] = None,
    split: Annotated[str, typer.Option(help="PASCAL's list to score, where the folder has such lists; all photos where not.")] = "val",
    half: Annotated[Half, typer.Option(help="A split by a hash of the id.")] = Half.ALL,
    side: Annotated[int | None, typer.Option(help="Input side in pixels; the base's own without.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the grouping.")] = 0,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the scores here too.")] = None,
) -> None:
    """Score a base: mIoU and FBIoU, plain and with context."""
    with refused_arguments():
        folder, loaded = LabelledFolder.open_list(data, split), load_base(base)
        if run is not None:
            use_run(loaded, run)
    if json_out is not None and not json_out.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {json_out.parent} for --json")
    folder = folder.of_classes(loaded.classes)
    if half is not Half.ALL:
        folder = folder.subset([stem for stem in folder.ids if tuning_half(stem) == (half is Half.TUNE)])
    try:
        scorers = evaluate(loaded, folder, side=side or loaded.info.side, seed=seed)
    except UnusableFile as error:
        raise typer.BadParameter(str(error)) from error
    table = Table("mode", "mIoU %", "FBIoU %", title=f"{base} on {data} ({half}, {len(folder)} photos)")
    for mode, scorer in scorers.items():
        table.add_row(mode, f"{scorer.miou:.2f}", f"{scorer.fbiou:.2f}")
    Console().print(table)
    if json_out is not None:
        scores = {mode: {"miou": scorer.miou, "fbiou": scorer.fbiou} for mode, scorer in scorers.items()}
        json_out.write_text(json.dumps({"base": base, "photos": len(folder), "half": half, "scores": scores}, indent=2))


if __name__ == "__main__":
    typer.run(main)
