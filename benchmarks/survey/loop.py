"""What the methods share: a copy of the base, the plan of steps, source photos, batch-norm modes, the two-domain training loop."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from benchmarks.survey.interface import Forward, Problem
from models.losses import masked_cross_entropy
from models.preprocess import normalize, shrink

MOMENTUM, POWER = 0.9, 0.9
"""SGD and its polynomial decay, as AdaptSegNet (arXiv 1802.10349, section 5) and all that build on it have them."""


def copied(problem: Problem, *, frozen_statistics: bool = True) -> nn.Module:
    """The base's plain network, to be adapted: evaluation mode, every parameter learns; else batch norm as `let_statistics_follow`."""
    network = copy.deepcopy(problem.base.segmenter.base).eval().requires_grad_(True)
    if not frozen_statistics:
        let_statistics_follow(network)
    return network


def forward_of(network: nn.Module) -> Forward:
    """The network as it stands, modes included."""
    network.requires_grad_(False)
    return lambda x: network(x).logits


def norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    """All batch norms."""
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def use_batch_statistics(network: nn.Module) -> None:
    """Batch norm normalises with the batch at hand, in training and prediction; the stored statistics stay untouched."""
    for norm in norms(network):
        norm.train()
        norm.momentum = 0.0


def let_statistics_follow(network: nn.Module) -> None:
    """Batch norm learns new statistics (momentum 0.1) from the batches of both domains; its scale and shift stay.

    So the released code of AdaptSegNet and of AdvEnt, MaxSquare, IntraDA and FDA, which are built on it, trains its DeepLab-v2.
    """
    for norm in norms(network):
        norm.train().requires_grad_(False)


def only_scale_and_shift(network: nn.Module, leave_out: tuple[str, ...] = ()) -> list[nn.Parameter]:
    """Freezes all parameters but batch norm's scale and shift (of modules whose name has no part in `leave_out`); returns these."""
    network.requires_grad_(False)
    found: list[nn.Parameter] = []
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d) and not set(name.split(".")) & set(leave_out):
            found += [module.weight.requires_grad_(True), module.bias.requires_grad_(True)]  # type: ignore[list-item]
    return found


@dataclass
class Plan:
    """`passes` times the whole gallery in random batches, broken off where the budget ends. Iterate once; `note` tells how far it came."""

    problem: Problem
    passes: int
    start: float = field(default_factory=time.monotonic)
    done: int = 0

    @property
    def steps(self) -> int:
        """As planned."""
        return self.passes * -(-len(self.problem.pixels) // self.problem.batch_size)

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        """(step, positions of a batch's photos), the same for the same seed."""
        for epoch in range(self.passes):
            order = np.random.default_rng([self.problem.seed, epoch]).permutation(len(self.problem.pixels))
            for first in range(0, len(order), self.problem.batch_size):
                if time.monotonic() - self.start >= self.problem.budget_seconds:
                    return
                yield self.done, [int(index) for index in order[first : first + self.problem.batch_size]]
                self.done += 1

    @property
    def note(self) -> str:
        """For the cell."""
        return f"{self.done} of {self.steps} steps"


def target_input(problem: Problem, positions: list[int] | slice) -> Float[Tensor, "images 3 side side"]:
    """A batch of the user's photos, normalised."""
    return normalize(problem.pixels[positions]).to(problem.base.device)


def all_batches(problem: Problem) -> Iterator[slice]:
    """The gallery once, in order."""
    for first in range(0, len(problem.pixels), problem.batch_size):
        yield slice(first, first + problem.batch_size)


def source_batch(problem: Problem, step: int) -> tuple[Float[Tensor, "images 3 side side"], Int64[Tensor, "images side side"]]:
    """A seeded random batch of labelled source photos, squashed to the base's side, mirrored every second time; RGB in [0, 255].

    Raises ValueError where the problem has no source.
    """
    source, side = problem.source, problem.base.info.side
    if source is None:
        raise ValueError("this method trains on source photos too: give the problem a source folder")
    rng = np.random.default_rng([problem.seed, 1, step])
    photos, labels = [], []
    for index in rng.choice(len(source), problem.batch_size, replace=len(source) < problem.batch_size):
        photo = shrink(source.load(int(index)), side).float()
        label = F.interpolate(torch.from_numpy(source.label(int(index)))[None, None], (side, side), mode="nearest")[0, 0].long()
        mirrored = rng.random() < 0.5
        photos.append(photo.flip(2) if mirrored else photo)
        labels.append(label.flip(1) if mirrored else label)
    return torch.stack(photos), torch.stack(labels)


def supervised_loss(logits: Float[Tensor, "images classes h w"], labels: Int64[Tensor, "images h2 w2"]) -> Float[Tensor, ""]:
    """Cross-entropy in nats at the logits' own size (stride 2)."""
    small = F.interpolate(labels[:, None].float(), logits.shape[2:], mode="nearest")[:, 0].long()
    return masked_cross_entropy(logits, small.to(logits.device))


@dataclass(frozen=True)
class Step:
    """A step of two-domain training: the positions of the user's photos, and both domains' logits (the source's without gradient)."""

    positions: list[int]
    source: Float[Tensor, "images classes h w"]
    target: Float[Tensor, "others classes h w"]


LabelledBatch = tuple[Float[Tensor, "images 3 side side"], Int64[Tensor, "images side side"]]


def train_two_domains(
    network: nn.Module,
    problem: Problem,
    plan: Plan,
    *,
    rate: float,
    weight_decay: float,
    target_loss: Callable[[Step], Tensor],
    after_step: Callable[[Step], None] = lambda step: None,
    labelled: Callable[[int, list[int]], LabelledBatch] | None = None,
) -> None:
    """Supervised loss on a labelled batch (source photos by default) + `target_loss` on a batch of the user's; SGD, poly decay."""
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], rate, MOMENTUM, weight_decay=weight_decay)
    for number, positions in plan:
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - number / plan.steps) ** POWER
        photos, labels = labelled(number, positions) if labelled is not None else source_batch(problem, number)
        optimizer.zero_grad(set_to_none=True)
        source = network(normalize(photos).to(problem.base.device)).logits
        supervised_loss(source, labels).backward()  # type: ignore[no-untyped-call]
        step = Step(positions, source.detach(), network(target_input(problem, positions)).logits)
        target_loss(step).backward()  # type: ignore[no-untyped-call]  # added to the source's gradient: half the memory
        optimizer.step()
        after_step(step)
