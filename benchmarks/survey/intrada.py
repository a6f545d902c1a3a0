"""IntraDA: inter-domain, then intra-domain alignment (Pan et al., arXiv 2004.07703).

Section 3: (1) AdvEnt between source and target; (2) the target photos are ranked by their mean entropy, the easiest λ = 67 % keep that
network's predictions as labels; (3) a second network, started at the base, learns these labels and is aligned by AdvEnt from easy to
hard photos. Constants of both as AdvEnt's (section 4), the classifier's tenfold rate included. Here: at least half of the planned steps
each (the second half's passes over a third of the photos round up: 16 + 24 steps at 64 photos), at whose end the decay ends, too
(released as AdvEnt's), batches of 8 + 8.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor, nn

from benchmarks.survey.advent import RATE, align_maps
from benchmarks.survey.interface import Adapted, Problem
from benchmarks.survey.loop import Plan, all_batches, copied, forward_of, target_input
from benchmarks.survey.two_domains import LabelledBatch
from models.adversarial import weighted_self_information
from models.losses import pixel_entropy

EASY_SHARE = 0.67


@torch.no_grad()
def rank_and_label(network: nn.Module, problem: Problem) -> tuple[list[int], Int64[Tensor, "photos h2 w2"]]:
    """Positions of the photos by their mean entropy, the easiest first, and all photos' predictions."""
    scores, labels = [], []
    for positions in all_batches(problem):
        logits = network(target_input(problem, positions)).logits
        scores += pixel_entropy(logits).mean((1, 2)).tolist()
        labels.append(logits.argmax(1).cpu())
    return [int(index) for index in np.argsort(scores, kind="stable")], torch.cat(labels)


@dataclass(frozen=True)
class IntraDA:
    """`frozen_statistics`: keep the base's batch-norm statistics, which the released code lets follow."""

    name: str = "intrada"
    frozen_statistics: bool = False
    rate: float = RATE
    paper: str = "2004.07703"
    needs_source: bool = True

    def adapt(self, problem: Problem) -> Adapted:
        """Align, rank, align again."""
        first, second = (copied(problem, frozen_statistics=self.frozen_statistics) for _ in range(2))
        passes = max(1, problem.epochs // 2)
        between = Plan(problem, passes)
        align_maps(first, problem, between, weighted_self_information, rate=self.rate)
        order, labels = rank_and_label(first.eval(), problem)
        count = max(1, round(EASY_SHARE * len(order)))
        easy, hard = order[:count], order[count:] or order

        def easy_batch(step: int, positions: list[int]) -> LabelledBatch:
            rng = np.random.default_rng([problem.seed, 2, step])
            chosen = [easy[int(index)] for index in rng.integers(0, len(easy), problem.batch_size)]
            return problem.pixels[chosen].float(), labels[chosen]

        # at least as many steps as passes over the whole gallery would have
        repeats = -(-len(order) // len(hard))
        within = Plan(replace(problem, pixels=problem.pixels[hard]), passes * repeats, between.start)
        align_maps(second, within.problem, within, weighted_self_information, rate=self.rate, labelled=easy_batch)
        return Adapted(forward_of(second.eval()), f"between domains {between.note}, easy to hard {within.note}")
