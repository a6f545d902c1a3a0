"""MaxSquare: maximum squares loss with image-wise class balance (Chen et al., arXiv 1909.13589, section 3).

Cross-entropy on source + λ = 0.1 × the maximum squares loss on target, α = 0.2; divided by K as in the released code; its gradient
grows linearly with the probability, so that pixels that are certain already do not drown the others as under entropy. SGD 2.5e-4,
momentum 0.9, weight decay 5e-4, poly 0.9. Here: one output level, batches of 8 + 8, as many steps as the plan has.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.survey.interface import Adapted, Problem
from benchmarks.survey.loop import Plan, copied, forward_of, train_two_domains
from models.losses import max_square_loss

RATE, WEIGHT_DECAY, TARGET_WEIGHT, BALANCE = 2.5e-4, 5e-4, 0.1, 0.2


@dataclass(frozen=True)
class MaxSquare:
    """`frozen_statistics`: keep the base's batch-norm statistics, which the released code lets follow."""

    name: str = "maxsquare"
    frozen_statistics: bool = False
    rate: float = RATE
    paper: str = "1909.13589"
    needs_source: bool = True

    def adapt(self, problem: Problem) -> Adapted:
        """Source and target together."""
        network, plan = copied(problem, frozen_statistics=self.frozen_statistics), Plan(problem, problem.epochs)
        classes = problem.base.classes
        train_two_domains(
            network,
            problem,
            plan,
            rate=self.rate,
            weight_decay=WEIGHT_DECAY,
            target_loss=lambda step: TARGET_WEIGHT * max_square_loss(step.target, BALANCE) / classes,
        )
        return Adapted(forward_of(network.eval()), plan.note)
