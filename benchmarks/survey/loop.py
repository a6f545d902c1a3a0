"""What the methods share: a copy of the base, the plan of steps, batch-norm modes. Training on source photos too: `two_domains`."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from benchmarks.survey.interface import Forward, Problem
from models.preprocess import normalize


def copied(problem: Problem, *, frozen_statistics: bool = True, affine_learns: bool = False) -> nn.Module:
    """The base's plain network, to be adapted: evaluation mode, every parameter learns; else batch norm as `let_statistics_follow`."""
    network = copy.deepcopy(problem.base.segmenter.base).eval().requires_grad_(True)
    if not frozen_statistics:
        let_statistics_follow(network, affine_learns=affine_learns)
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


def let_statistics_follow(network: nn.Module, *, affine_learns: bool = False) -> None:
    """Batch norm learns new statistics (momentum 0.1) from the batches of both domains; its scale and shift stay.

    So the released code of AdaptSegNet and of AdvEnt, IntraDA and FDA, which are built on it, trains its DeepLab-v2. MaxSquare's copy of
    that network freezes the scale and shift of the first norm alone: `affine_learns` lets all others learn.
    """
    for place, norm in enumerate(norms(network)):
        norm.train().requires_grad_(affine_learns and place > 0)


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
    earlier: int = 0
    """Passes of a method's earlier rounds: orders and numbers go on after them."""
    done: int = 0
    """Steps behind us: of the one at work, how many came before it in this plan."""

    @property
    def steps(self) -> int:
        """As planned."""
        return self.passes * self._steps_a_pass

    @property
    def _steps_a_pass(self) -> int:
        return -(-len(self.problem.pixels) // self.problem.batch_size)

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        """(number of the step over all rounds, positions of a batch's photos), the same for the same seed."""
        before = self.earlier * self._steps_a_pass
        for epoch in range(self.earlier, self.earlier + self.passes):
            order = np.random.default_rng([self.problem.seed, epoch]).permutation(len(self.problem.pixels))
            for first in range(0, len(order), self.problem.batch_size):
                if time.monotonic() - self.start >= self.problem.budget_seconds:
                    return
                yield before + self.done, [int(index) for index in order[first : first + self.problem.batch_size]]
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
