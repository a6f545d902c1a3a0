"""CoTTA: continual test-time adaptation (Wang et al., arXiv 2203.13591).

Section 3: a mean teacher (decay 0.999) predicts each batch; where the *base's* mean confidence is under a threshold, its prediction is
averaged over augmented views (for segmentation: scales 0.5 … 2 and mirroring); the student learns it by soft cross-entropy (all
parameters); then each weight is restored to the base's with probability 0.01. Section 4: for segmentation threshold 0.69, Adam at 6e-5
/ 8, one pass; batch norm normalises with the batch at hand. Here: batches of 8, three scales instead of seven; the photos are predicted
by the teacher after the pass, which is kinder to it than predicting online.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from benchmarks.survey.interface import Adapted, Problem
from benchmarks.survey.loop import Plan, copied, forward_of, target_input, use_batch_statistics
from models.gallery import snap
from models.losses import soft_cross_entropy

DECAY, RESTORED_SHARE, CONFIDENT, RATE = 0.999, 0.01, 0.69, 6e-5 / 8
SCALES = (0.75, 1.0, 1.25)


@torch.no_grad()
def averaged(network: nn.Module, x: Float[Tensor, "images 3 side side"], size: tuple[int, int]) -> Float[Tensor, "images classes h w"]:
    """Mean of the softmax over scales and mirroring, at `size`."""
    views = []
    for scale in SCALES:
        side = snap(x.shape[2] * scale)
        scaled = F.interpolate(x, (side, side), mode="bilinear", align_corners=False)
        views += [network(scaled).logits, network(scaled.flip(3)).logits.flip(3)]
    return torch.stack([F.interpolate(view, size, mode="bilinear", align_corners=False).softmax(1) for view in views]).mean(0)


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module) -> None:
    """The teacher's weights become the running mean of the student's."""
    for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
        slow.lerp_(fast, 1 - DECAY)


@torch.no_grad()
def restore(student: nn.Module, base: nn.Module, random: torch.Generator) -> None:
    """Each weight falls back to the base's with probability RESTORED_SHARE."""
    for now, first in zip(student.parameters(), base.parameters(), strict=True):
        chosen = (torch.rand(now.shape, generator=random) < RESTORED_SHARE).to(now.device)
        now.copy_(torch.where(chosen, first, now))


@dataclass(frozen=True)
class CoTTA:
    """Predicts by the teacher."""

    name: str = "cotta"
    passes: int = 1
    paper: str = "2203.13591"
    needs_source: bool = False

    def adapt(self, problem: Problem) -> Adapted:
        """Teach, learn, follow, restore."""
        base, student = problem.base.segmenter.base, copied(problem)
        use_batch_statistics(student)
        teacher = copy.deepcopy(student).requires_grad_(False)
        optimizer = torch.optim.Adam(student.parameters(), lr=RATE, betas=(0.9, 0.999))
        random = torch.Generator().manual_seed(problem.seed)
        plan = Plan(problem, self.passes)
        for _, positions in plan:
            x = target_input(problem, positions)
            logits = student(x).logits
            with torch.no_grad():
                confidence = base(x).logits.softmax(1).amax(1).mean()
                size = (logits.shape[2], logits.shape[3])
                reference = averaged(teacher, x, size) if confidence < CONFIDENT else teacher(x).logits.softmax(1)
            loss = soft_cross_entropy(logits, reference)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            follow(teacher, student)
            restore(student, base, random)
        return Adapted(forward_of(teacher), plan.note)
