"""MaxSquare: maximum squares loss with image-wise class balance (Chen et al., arXiv 1909.13589, section 3).

Cross-entropy on source + λ = 0.1 × the maximum squares loss on target, α = 0.2; its gradient grows linearly with the probability, so
that pixels that are certain already do not drown the others as under entropy. The loss is −Σ w·p² / (B·K) as in the released code
(IW_MaxSquareloss), where the paper's equation has −Σ w·p² / (2·B). SGD 2.5e-4 (the classifier 10 times that), momentum 0.9, weight decay
5e-4, poly 0.9 to the last step. Batch norm follows both domains; its scales and shifts learn, but for the first norm's, as released.
Here: one output level, batches of 8 + 8, as many steps as the plan has.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from benchmarks.survey.interface import Adapted, Problem
from benchmarks.survey.loop import Plan, copied, forward_of
from benchmarks.survey.two_domains import HEAD_RATE, Step, train_two_domains
from models.losses import max_square_loss

RATE, WEIGHT_DECAY, TARGET_WEIGHT, BALANCE = 2.5e-4, 5e-4, 0.1, 0.2


def weighted_squares(step: Step) -> Tensor:
    """λ times the released loss: `max_square_loss` is the paper's, half of the sum, not divided by K."""
    return TARGET_WEIGHT * 2 * max_square_loss(step.target, BALANCE) / step.target.shape[1]


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
        network = copied(problem, frozen_statistics=self.frozen_statistics, affine_learns=True)
        plan = Plan(problem, problem.epochs)
        train_two_domains(
            network,
            problem,
            plan,
            rate=self.rate,
            head_rate=HEAD_RATE,
            weight_decay=WEIGHT_DECAY,
            target_loss=weighted_squares,
        )
        return Adapted(forward_of(network.eval()), plan.note)
