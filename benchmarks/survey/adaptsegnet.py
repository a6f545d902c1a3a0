"""AdaptSegNet: adversarial alignment of the output space (Tsai et al., arXiv 1802.10349), single level.

Section 3: a discriminator tells source from target by the softmax maps; section 5: adversarial weight 1e-3 for a single level; section
4.3: its five convolutions, SGD 2.5e-4, momentum 0.9, weight decay 1e-4 (released: 5e-4), poly 0.9; discriminator Adam 1e-4, betas
(0.9, 0.99), the same decay. As released and not in the paper: the classifier learns at 10 times the rate, and the momentum is plain (the
paper's is Nesterov's). Here: batches of 8 + 8, as many steps as the plan has, where the decay ends (released: 150,000 of a decay over
250,000), maps at the logits' own stride of 2 (published: stride 8, enlarged).
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.survey.advent import align_maps
from benchmarks.survey.interface import Adapted, Problem
from benchmarks.survey.loop import Plan, copied, forward_of

RATE, WEIGHT_DECAY = 2.5e-4, 1e-4


@dataclass(frozen=True)
class AdaptSegNet:
    """`frozen_statistics`: keep the base's batch-norm statistics, which the released code lets follow."""

    name: str = "adaptsegnet"
    frozen_statistics: bool = False
    rate: float = RATE
    paper: str = "1802.10349"
    needs_source: bool = True

    def adapt(self, problem: Problem) -> Adapted:
        """Source and target together."""
        network, plan = copied(problem, frozen_statistics=self.frozen_statistics), Plan(problem, problem.epochs)
        align_maps(network, problem, plan, lambda logits: logits.softmax(1), rate=self.rate, weight_decay=WEIGHT_DECAY)
        return Adapted(forward_of(network.eval()), plan.note)
