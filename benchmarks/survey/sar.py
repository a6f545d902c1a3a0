"""SAR: sharpness-aware and reliable entropy minimisation (Niu et al., arXiv 2302.12400).

Section 4: as Tent, but only reliable samples count (entropy < 0.4·ln K), weights step to where the loss is flat (sharpness-aware
minimisation, ρ = 0.05), the last stage's norms stay as they are, and the model falls back to the base where the running mean (0.9) of
the entropy drops under 0.2 at K = 1000. SGD 2.5e-4, momentum 0.9, one pass, batch statistics (section 5, batch-norm models). Here a
sample is a pixel, batches hold 8 photos, and the fall-back's 0.2 is taken in proportion to ln K (0.088 at K = 21): a good
segmentation's mean entropy is lower than that of 1000 classes.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.survey.interface import Adapted, Problem
from benchmarks.survey.loop import Plan, copied, forward_of, only_scale_and_shift, target_input, use_batch_statistics
from models.losses import pixel_entropy

RELIABLE, RADIUS, RATE, MOMENTUM = 0.4, 0.05, 2.5e-4, 0.9
RUNNING, FALL_BACK = 0.9, 0.2 / math.log(1000)
LAST_STAGES = ("stage16", "layer4")
"""The deepest stage's name in ESPNetv2 and in ResNets."""


def reliable_entropy(entropy: Tensor, among: Tensor) -> Tensor:
    """Mean entropy of the pixels `among`; 0 with a gradient of 0 where there is none."""
    return (entropy * among).sum() / among.sum().clamp(min=1)


@torch.no_grad()
def climb(parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """Moves the weights ρ along their gradient; returns the move, to be taken back."""
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
    moves = [RADIUS * gradient / (norm + 1e-12) for gradient in gradients]
    for parameter, move in zip(parameters, moves, strict=True):
        parameter.add_(move)
    return moves


@dataclass(frozen=True)
class SAR:
    """`passes` is 1 in the paper; the problem's plan does not lengthen it."""

    name: str = "sar"
    passes: int = 1
    paper: str = "2302.12400"
    needs_source: bool = False

    def adapt(self, problem: Problem) -> Adapted:
        """Climb, look again, step from where it stood."""
        network = copied(problem)
        use_batch_statistics(network)
        parameters = only_scale_and_shift(network, LAST_STAGES)
        first = copy.deepcopy(network.state_dict())
        optimizer = torch.optim.SGD(parameters, RATE, MOMENTUM)
        scale = math.log(problem.base.classes)
        running: float | None = None
        fall_backs, plan = 0, Plan(problem, self.passes)
        for _, positions in plan:
            x = target_input(problem, positions)
            entropy = pixel_entropy(network(x).logits)
            among = (entropy < RELIABLE * scale).detach()
            optimizer.zero_grad(set_to_none=True)
            reliable_entropy(entropy, among).backward()  # type: ignore[no-untyped-call]
            moves = climb(parameters)
            again = pixel_entropy(network(x).logits)
            loss = reliable_entropy(again, among & (again < RELIABLE * scale).detach())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            with torch.no_grad():
                for parameter, move in zip(parameters, moves, strict=True):
                    parameter.sub_(move)
            optimizer.step()
            value = float(loss.detach())
            running = value if running is None else RUNNING * running + (1 - RUNNING) * value
            if running < FALL_BACK * scale:
                network.load_state_dict(first)
                optimizer = torch.optim.SGD(parameters, RATE, MOMENTUM)
                running, fall_backs = None, fall_backs + 1
        return Adapted(forward_of(network), f"{plan.note}, {fall_backs} fall-backs")
