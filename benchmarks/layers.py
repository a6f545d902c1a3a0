"""`python -m benchmarks.layers`: ESPNetv2 with the layers of `models.bases.layers` beside the same network of torch's own modules.

Both take turns on the same photo, in one run; medians are compared. A training step is what `models.selftraining` does with a photo: a
pass that keeps nothing, the same pass again with what the gradient needs, and the way back.
"""

from __future__ import annotations

import copy
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from models.bases.espnetv2 import ConvNormAct, Depthwise, NormAct
from models.bases.layers import PReLU
from models.bases.registry import load_base
from models.losses import masked_cross_entropy

TORCHS_OWN: dict[type[nn.Module], type[nn.Module]] = {
    PReLU: nn.PReLU, Depthwise: nn.Conv2d, ConvNormAct: nn.Sequential, NormAct: nn.Sequential,
}  # fmt: skip
"""Classes of ours → what they derive from."""


def of_torchs_own(network: nn.Module) -> nn.Module:
    """A copy that computes with torch's modules: batch norm that is listened to is not folded (`models.bases.layers.can_fold`)."""
    plain = copy.deepcopy(network)
    for module in plain.modules():
        module.__class__ = TORCHS_OWN.get(type(module), type(module))
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_pre_hook(lambda norm, inputs: None)
    return plain


def train(network: nn.Module, x: Tensor, labels: Tensor) -> None:
    """One photo's share of a training step."""
    network.zero_grad(set_to_none=True)
    with torch.no_grad():
        network(x)
    masked_cross_entropy(network(x).logits, labels).backward()  # type: ignore[no-untyped-call]


def look(network: nn.Module, x: Tensor, labels: Tensor) -> None:
    """One plain pass."""
    with torch.no_grad():
        network(x)


WORK: dict[str, Callable[[nn.Module, Tensor, Tensor], None]] = {"plain pass": look, "training step": train}


def measure(base: str, rounds: int) -> dict[str, dict[str, float]]:
    """Work → network → median seconds a photo, after one round of warming up."""
    loaded = load_base(base)
    ours = copy.deepcopy(loaded.segmenter.base).eval().requires_grad_(True)
    networks = {"torch's own": of_torchs_own(ours), "ours": ours}
    x = torch.randn(1, 3, loaded.info.side, loaded.info.side).to(memory_format=torch.channels_last)
    with torch.no_grad():
        labels = ours(x).logits.argmax(1)
    found: dict[str, dict[str, float]] = {}
    for name, work in WORK.items():
        spent: dict[str, list[float]] = {network: [] for network in networks}
        for number in range(rounds + 1):
            for which, network in networks.items():
                start = time.perf_counter()
                work(network, x, labels)
                if number > 0:
                    spent[which].append(time.perf_counter() - start)
        found[name] = {which: statistics.median(seconds) for which, seconds in spent.items()}
    return found


def main(
    base: Annotated[str, typer.Option(help="espnetv2 or espnetv2_tiny.")] = "espnetv2",
    rounds: Annotated[int, typer.Option(help="Of each work.", min=1)] = 20,
    out: Annotated[Path | None, typer.Option(help="Write the medians (seconds) as JSON.")] = None,
) -> None:
    """Print milliseconds a photo with either kind of layers, and the ratio."""
    found = measure(base, rounds)
    table = Table("work", "torch's own, ms", "ours, ms", "ratio", title=f"{base}, {torch.get_num_threads()} threads, {rounds} rounds")
    for name, medians in found.items():
        theirs, ours = medians["torch's own"], medians["ours"]
        table.add_row(name, f"{1000 * theirs:.1f}", f"{1000 * ours:.1f}", f"{ours / theirs:.2f}")
    Console().print(table)
    if out is not None:
        out.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    typer.run(main)
