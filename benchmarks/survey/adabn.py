"""AdaBN: adaptive batch normalisation (Li et al., arXiv 1603.04779).

Section 3.3 (algorithm 1): every batch norm's mean and variance are replaced by those of the target domain, estimated over all of its
photos; nothing else changes. Equation 2: batches are merged by their moments, so that the result is the mean and the variance over all
pixels of all photos. Here: one pass over the gallery, in which each batch is normalised with its own statistics.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.survey.interface import Adapted, Problem
from benchmarks.survey.loop import all_batches, copied, forward_of, norms, target_input, use_batch_statistics


@dataclass
class Moments:
    """Mean and variance per channel over all pixels seen so far (not the sample's corrected variance: the paper's)."""

    pixels: int = 0
    mean: Tensor | float = 0.0
    variance: Tensor | float = 0.0

    def see(self, norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Merges what comes into a batch norm: with d the means' distance, both variances by size and d²·n·k / (n + k)² (equation 2)."""
        (x,) = inputs
        variance, mean = (value.double() for value in torch.var_mean(x, (0, 2, 3), correction=0))
        count = x.numel() // x.shape[1]
        total = self.pixels + count
        before, now, apart = self.pixels / total, count / total, mean - self.mean
        self.variance = before * self.variance + now * variance + apart**2 * before * now
        self.mean, self.pixels = self.mean + apart * now, total


@dataclass(frozen=True)
class AdaBN:
    """No gradient; predicts with the gallery's statistics."""

    name: str = "adabn"
    paper: str = "1603.04779"
    needs_source: bool = False

    @torch.no_grad()
    def adapt(self, problem: Problem) -> Adapted:
        """One pass."""
        network = copied(problem)
        use_batch_statistics(network)
        found = {norm: Moments() for norm in norms(network)}
        hooks = [norm.register_forward_pre_hook(moments.see) for norm, moments in found.items()]
        for positions in all_batches(problem):
            network(target_input(problem, positions))
        for hook in hooks:
            hook.remove()
        for norm, moments in found.items():
            if moments.pixels:  # an auxiliary head's never see any
                norm.running_mean.copy_(moments.mean)  # type: ignore[union-attr, arg-type]
                norm.running_var.copy_(moments.variance)  # type: ignore[union-attr, arg-type]
        return Adapted(forward_of(network.eval()), "statistics of the whole gallery")
