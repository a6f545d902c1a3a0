"""Self-training as one should not do it: no class balance, no teacher, a high rate. Only to try the guard on models that go wrong."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from benchmarks.survey.cbst import gallery_probabilities
from benchmarks.survey.interface import Adapted, Problem
from benchmarks.survey.loop import Plan, copied, forward_of, let_statistics_follow, target_input
from models.labels import IGNORE
from models.losses import masked_cross_entropy


@dataclass(frozen=True)
class NaiveSelfTraining:
    """The most confident `keep_share` of all pixels, whatever their class, keep the base's label; Adam at `rate`."""

    name: str = "naive"
    rate: float = 1e-3
    keep_share: float = 1.0
    frozen_statistics: bool = True
    paper: str = ""
    needs_source: bool = False

    def adapt(self, problem: Problem) -> Adapted:
        """Label once, train."""
        network, plan = copied(problem), Plan(problem, problem.epochs)
        confidence, labels = gallery_probabilities(network, problem).max(1)
        limit = confidence.float().flatten().kthvalue(max(1, int((1 - self.keep_share) * confidence.numel()))).values
        labels = torch.where(confidence.float() >= limit, labels, IGNORE)
        if not self.frozen_statistics:
            let_statistics_follow(network)
        optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=self.rate)
        for _, positions in plan:
            logits = network(target_input(problem, positions)).logits
            small = F.interpolate(logits, labels.shape[1:], mode="bilinear", align_corners=False)
            loss = masked_cross_entropy(small, labels[positions].to(logits.device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return Adapted(forward_of(network.eval()), plan.note)
