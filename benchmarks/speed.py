"""`python -m benchmarks.speed`: what a photo costs with a personal model, as a ratio to the base's plain pass measured in the same run.

Machines are noisy: the candidates take turns, photo by photo, and medians are compared. No adaptation is run: the personal model holds the
base's own weights and a context bank of the size that a gallery of 64 photos gives, which costs the same.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from models.appearance import Appearance
from models.bases.registry import Base, load_base
from models.checkpoints import ContextBank, PersonalModel, load_personal, save_delta
from models.gallery import network_input, snap
from models.inference import personal_logits
from workers.memory import bound_allocator

GROUPS, REMEMBERED = 8, 2


def personal_like(base: Base, appearance: Appearance, *, context: bool = True) -> PersonalModel:
    """A personal model of the usual size whose weights are the base's."""
    torch.manual_seed(0)
    rows = GROUPS * REMEMBERED * base.classes if context else 0
    owners = torch.arange(rows, dtype=torch.int32) // max(1, rows // GROUPS)
    centres = np.random.default_rng(0).random((GROUPS, base.segmenter.base.deep_channels), dtype=np.float32)
    bank = ContextBank(torch.rand(rows, base.segmenter.context.channels), owners, centres)
    return load_personal(save_delta(base, base.segmenter, bank, appearance), base)


@torch.inference_mode()
def measure(base: Base, photos: int) -> dict[str, float]:
    """Median seconds a photo of each candidate, after one round of warming up."""
    side = base.info.side
    looks = {
        "personal": Appearance.untouched(side),
        "personal, light corrected": Appearance((2.0, 2.0, 2.0), (-50.0, -50.0, -50.0), side, "light 1"),
        "personal, smaller side": Appearance((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), snap(side * 2 / 3), smaller=True),
    }
    personal = {name: personal_like(base, look) for name, look in looks.items()}
    personal["personal without context"] = personal_like(base, looks["personal"], context=False)
    turns: dict[str, Callable[[torch.Tensor], object]] = {
        "base, plain pass": lambda pixels: base.segmenter.base(network_input(pixels, side, base.device)),
        **{name: (lambda pixels, model=model: personal_logits(model, pixels, base.device)) for name, model in personal.items()},  # type: ignore[misc]
    }
    spent: dict[str, list[float]] = {name: [] for name in turns}
    rng = np.random.default_rng(0)
    for number in range(photos + 1):
        pixels = torch.from_numpy(rng.integers(0, 256, (1, 3, side, side), dtype=np.uint8))
        for name, turn in turns.items():
            start = time.perf_counter()
            turn(pixels)
            if base.device.type == "cuda":
                torch.cuda.synchronize()
            if number > 0:
                spent[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds) for name, seconds in spent.items()}


def main(
    base: Annotated[str, typer.Option(help="Base model.")] = "espnetv2",
    photos: Annotated[int, typer.Option(help="Rounds.", min=1)] = 40,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    out: Annotated[Path | None, typer.Option(help="Write the medians (seconds) as JSON.")] = None,
) -> None:
    """Print seconds a photo, and the ratio to the base's plain pass. Memory is kept as in a worker (docs/decisions/0025: page faults)."""
    bound_allocator()
    medians = measure(load_base(base, device=device), photos)
    plain = next(iter(medians.values()))
    table = Table("candidate", "ms a photo", "ratio", title=f"{base} on {device}, {torch.get_num_threads()} threads, {photos} rounds")
    for name, seconds in medians.items():
        table.add_row(name, f"{1000 * seconds:.1f}", f"{seconds / plain:.2f}")
    Console().print(table)
    if out is not None:
        out.write_text(json.dumps(medians, indent=2))


if __name__ == "__main__":
    typer.run(main)
