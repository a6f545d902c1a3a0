"""Tent: test-time entropy minimisation (Wang et al., arXiv 2006.10726).

Section 3: minimise the entropy of the predictions (mean over pixels) by batch norm's scale and shift alone; batch norm normalises with
the batch at hand (section 3.2). Section 4: Adam at 1e-3 (all but ImageNet), one update a batch, one pass over the target. Here: batches
of 8; the photos are predicted after the pass (with the statistics of their batch), which is kinder to it than predicting online. More
passes are known to collapse it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from benchmarks.survey.interface import Adapted, Problem
from benchmarks.survey.loop import Plan, copied, forward_of, only_scale_and_shift, target_input, use_batch_statistics
from models.losses import pixel_entropy


@dataclass(frozen=True)
class Tent:
    """`passes` is 1 in the paper; the problem's plan does not lengthen it."""

    name: str = "tent"
    passes: int = 1
    rate: float = 1e-3
    paper: str = "2006.10726"
    needs_source: bool = False

    def adapt(self, problem: Problem) -> Adapted:
        """Forward, entropy, backward, step."""
        network = copied(problem)
        use_batch_statistics(network)
        optimizer = torch.optim.Adam(only_scale_and_shift(network), lr=self.rate, betas=(0.9, 0.999))
        plan = Plan(problem, self.passes)
        for _, positions in plan:
            loss = pixel_entropy(network(target_input(problem, positions)).logits).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return Adapted(forward_of(network), plan.note)
