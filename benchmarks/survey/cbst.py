"""CBST: class-balanced self-training (Zou et al., arXiv 1810.07911).

Section 4: rounds of (1) pseudo labels for the target and (2) training on source and target together. Of each class the most confident
share p of its pixels sets the class's threshold exp(−k_c); a pixel's label is the class of the largest p_c / exp(−k_c), where that is
over 1. Section 5: p starts at 20 % and grows by 5 points a round; two epochs a round; SGD 1e-4 for all layers, momentum 0.9, weight
decay 5e-4; batch norm keeps its statistics. Here: as many rounds of two passes as the plan has (two, not three or more), each with
orders and source batches of its own, without the spatial priors (a prior of street scenes), labels at a quarter of the side.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from benchmarks.survey.interface import Adapted, Problem
from benchmarks.survey.loop import Plan, all_batches, copied, forward_of, target_input
from benchmarks.survey.two_domains import supervised_loss, train_two_domains
from models.labels import IGNORE

FIRST_SHARE, MORE_SHARE, ROUND_PASSES, RATE, WEIGHT_DECAY = 0.2, 0.05, 2, 1e-4, 5e-4


@torch.no_grad()
def gallery_probabilities(network: nn.Module, problem: Problem) -> Float[Tensor, "photos classes h4 w4"]:
    """Softmax of the whole gallery at a quarter of the side, fp16."""
    size = (problem.base.info.side // 4, problem.base.info.side // 4)
    parts = [network(target_input(problem, positions)).logits for positions in all_batches(problem)]
    return torch.cat([F.interpolate(part, size, mode="bilinear", align_corners=False).softmax(1).half().cpu() for part in parts])


def thresholds(probabilities: Float[Tensor, "photos classes h w"], share: float) -> Float[Tensor, " classes"]:
    """exp(−k_c): the confidence that the given share of the pixels predicted as c reaches; 1 where no pixel is."""
    confidence, winner = probabilities.max(1)
    found = torch.ones(probabilities.shape[1])
    for index in range(len(found)):
        values = confidence[winner == index].float()
        if len(values):
            rank = max(0, min(len(values) - 1, round(share * len(values)) - 1))
            found[index] = values.sort(descending=True).values[rank]
    return found


def pseudo_labels(probabilities: Float[Tensor, "photos classes h w"], limits: Float[Tensor, " classes"]) -> Int64[Tensor, "photos h w"]:
    """The class of the largest p_c / threshold, IGNORE where that is under 1."""
    parts = []
    for start in range(0, len(probabilities), 16):
        ratio, winner = (probabilities[start : start + 16].float() / limits.view(1, -1, 1, 1)).max(1)
        parts.append(torch.where(ratio >= 1, winner, IGNORE))
    return torch.cat(parts)


@dataclass(frozen=True)
class CBST:
    """Self-training with source photos."""

    name: str = "cbst"
    paper: str = "1810.07911"
    needs_source: bool = True

    def adapt(self, problem: Problem) -> Adapted:
        """Label, train, label more, train."""
        network, notes = copied(problem), []
        start, passes = Plan(problem, 0).start, min(ROUND_PASSES, problem.epochs)
        for number in range(max(1, problem.epochs // ROUND_PASSES)):
            share = FIRST_SHARE + MORE_SHARE * number
            probabilities = gallery_probabilities(network, problem)
            labels = pseudo_labels(probabilities, thresholds(probabilities, share))
            plan = Plan(problem, passes, start, earlier=number * passes)
            train_two_domains(
                network,
                problem,
                plan,
                rate=RATE,
                weight_decay=WEIGHT_DECAY,
                target_loss=lambda step, labels=labels: supervised_loss(step.target, labels[step.positions]),  # type: ignore[misc]
            )
            notes.append(f"{share:.0%}: {plan.note}")
        return Adapted(forward_of(network.eval()), "; ".join(notes))
