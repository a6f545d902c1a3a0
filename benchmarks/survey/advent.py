"""AdvEnt: adversarial entropy minimisation (Vu et al., arXiv 1811.12833, section 3.2).

A discriminator tells source from target by the weighted self-information map −p·log2(p)/log2(K); the network learns to fool it on
target with weight 1e-3 beside its cross-entropy on source. Network: SGD 2.5e-4 (the classifier 10 times that), momentum 0.9, weight
decay 5e-4, poly 0.9; discriminator: Adam 1e-4, betas (0.9, 0.99), the same decay. Here: one output level, batches of 8 + 8, as many
steps as the plan has, where the decay ends (released: 120,000 of a decay over 250,000), and maps at the logits' own stride of 2
(published: stride 8, enlarged).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.survey.interface import Adapted, Problem
from benchmarks.survey.loop import Plan, copied, forward_of
from benchmarks.survey.two_domains import HEAD_RATE, POWER, LabelledBatch, Step, train_two_domains
from models.adversarial import RATE as DISCRIMINATOR_RATE
from models.adversarial import Discriminator, discriminator_step, fooling_loss, weighted_self_information

RATE, WEIGHT_DECAY, ADVERSARIAL_WEIGHT = 2.5e-4, 5e-4, 1e-3


def align_maps(
    network: nn.Module,
    problem: Problem,
    plan: Plan,
    maps: Callable[[Tensor], Tensor],
    *,
    rate: float = RATE,
    weight_decay: float = WEIGHT_DECAY,
    labelled: Callable[[int, list[int]], LabelledBatch] | None = None,
) -> None:
    """Trains `network` so that a discriminator cannot tell `maps` of labelled and of the user's photos apart."""
    torch.manual_seed(problem.seed)
    discriminator = Discriminator(problem.base.classes).to(problem.base.device)
    optimizer = discriminator.optimizer()

    def teach(step: Step) -> None:
        for group in optimizer.param_groups:
            group["lr"] = DISCRIMINATOR_RATE * (1 - plan.done / plan.steps) ** POWER
        discriminator_step(discriminator, optimizer, maps(step.source.detach()), maps(step.target.detach()))

    train_two_domains(
        network,
        problem,
        plan,
        rate=rate,
        head_rate=HEAD_RATE,
        weight_decay=weight_decay,
        target_loss=lambda step: ADVERSARIAL_WEIGHT * fooling_loss(discriminator, maps(step.target)),
        after_step=teach,
        labelled=labelled,
    )


@dataclass(frozen=True)
class AdvEnt:
    """`frozen_statistics`: keep the base's batch-norm statistics, which the released code lets follow."""

    name: str = "advent"
    frozen_statistics: bool = False
    rate: float = RATE
    paper: str = "1811.12833"
    needs_source: bool = True

    def adapt(self, problem: Problem) -> Adapted:
        """Source and target together."""
        network, plan = copied(problem, frozen_statistics=self.frozen_statistics), Plan(problem, problem.epochs)
        align_maps(network, problem, plan, weighted_self_information, rate=self.rate)
        return Adapted(forward_of(network.eval()), plan.note)
