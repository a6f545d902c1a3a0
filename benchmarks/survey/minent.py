"""MinEnt: direct entropy minimisation beside source training (Vu et al., arXiv 1811.12833, section 3.1).

Cross-entropy on source + λ = 1e-3 × the normalised entropy of target predictions; SGD 2.5e-4 (the classifier 10 times that), momentum
0.9, weight decay 5e-4 (the released configuration), poly 0.9. Published with two output levels, batches of 1 and 120,000 iterations of
a decay that would end at 250,000. Here: one level (the base has one), batches of 8 + 8, as many steps as the plan has, where the decay
ends.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.survey.interface import Adapted, Problem
from benchmarks.survey.loop import Plan, copied, forward_of
from benchmarks.survey.two_domains import HEAD_RATE, train_two_domains
from models.losses import entropy_loss

RATE, WEIGHT_DECAY, ENTROPY_WEIGHT = 2.5e-4, 5e-4, 1e-3


@dataclass(frozen=True)
class MinEnt:
    """`frozen_statistics`: keep the base's batch-norm statistics, which the released code lets follow."""

    name: str = "minent"
    frozen_statistics: bool = False
    rate: float = RATE
    paper: str = "1811.12833"
    needs_source: bool = True

    def adapt(self, problem: Problem) -> Adapted:
        """Source and target together."""
        network, plan = copied(problem, frozen_statistics=self.frozen_statistics), Plan(problem, problem.epochs)
        train_two_domains(
            network,
            problem,
            plan,
            rate=self.rate,
            head_rate=HEAD_RATE,
            weight_decay=WEIGHT_DECAY,
            target_loss=lambda step: ENTROPY_WEIGHT * entropy_loss(step.target),
        )
        return Adapted(forward_of(network.eval()), plan.note)
