"""AdaBN: adaptive batch normalisation (Li et al., arXiv 1603.04779).

Section 3.3 (algorithm 1): every batch norm's mean and variance are replaced by those of the target domain, estimated over all of its
photos; nothing else changes. Here: one pass over the gallery, cumulative mean of the batches' statistics.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from benchmarks.survey.interface import Adapted, Problem
from benchmarks.survey.loop import all_batches, copied, forward_of, norms, target_input


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
        for norm in norms(network):
            norm.reset_running_stats()
            norm.train()
            norm.momentum = None  # cumulative mean
        for positions in all_batches(problem):
            network(target_input(problem, positions))
        return Adapted(forward_of(network.eval()), "statistics of the whole gallery")
