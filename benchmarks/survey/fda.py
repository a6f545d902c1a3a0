"""FDA: Fourier domain adaptation (Yang and Soatto, arXiv 2004.05498).

Section 3.1: source photos take over the low-frequency amplitudes (β = 0.01) of a random target photo; section 3.2: cross-entropy on
them + 0.005 × the Charbonnier entropy (η = 2) on target, the latter after half of the steps, as released; SGD 2.5e-4 (the classifier
10 times that), momentum 0.9, weight decay 5e-4, poly 0.9. Published with three networks (β = 0.01, 0.05, 0.09) whose mean makes pseudo
labels for further rounds. Here: the first round of one network, batches of 8 + 8, as many steps as the plan has, where the decay ends
(released: 100,000 of a decay over 150,000).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from benchmarks.survey.interface import Adapted, Problem
from benchmarks.survey.loop import Plan, copied, forward_of
from benchmarks.survey.two_domains import HEAD_RATE, LabelledBatch, Step, source_batch, train_two_domains
from models.fourier import swap_low_frequencies
from models.losses import robust_entropy_loss

RATE, WEIGHT_DECAY, ENTROPY_WEIGHT, ETA, BETA, ENTROPY_AFTER = 2.5e-4, 5e-4, 0.005, 2.0, 0.01, 0.5


@dataclass(frozen=True)
class FDA:
    """`frozen_statistics`: keep the base's batch-norm statistics, which the released code lets follow."""

    name: str = "fda"
    beta: float = BETA
    frozen_statistics: bool = False
    rate: float = RATE
    paper: str = "2004.05498"
    needs_source: bool = True

    def adapt(self, problem: Problem) -> Adapted:
        """Source in the look of the target, and target."""
        network, plan = copied(problem, frozen_statistics=self.frozen_statistics), Plan(problem, problem.epochs)

        def restyled(step: int, positions: list[int]) -> LabelledBatch:
            photos, labels = source_batch(problem, step)
            style = problem.pixels[[positions[index % len(positions)] for index in range(len(photos))]].float()
            return swap_low_frequencies(photos, style, self.beta), labels

        def late_entropy(step: Step) -> Tensor | None:
            late = plan.done > ENTROPY_AFTER * plan.steps
            return ENTROPY_WEIGHT * robust_entropy_loss(step.target, ETA) if late else None

        train_two_domains(
            network,
            problem,
            plan,
            rate=self.rate,
            head_rate=HEAD_RATE,
            weight_decay=WEIGHT_DECAY,
            target_loss=late_entropy,
            labelled=restyled,
        )
        return Adapted(forward_of(network.eval()), plan.note)
