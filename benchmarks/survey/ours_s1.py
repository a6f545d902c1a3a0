"""Ours, step 1 alone: `models.alignment` with the inter-image context, without self-training and without a guard (METHOD, 5).

As published but for the length (the plan's passes instead of 120,000 steps), batch norm, which keeps the base's statistics, a random
draw of source photos and clipped gradients. Photos are predicted each with its own context.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from benchmarks.survey.context import alone
from benchmarks.survey.interface import Adapted, Problem
from models.alignment import AlignmentConfig, align
from models.gallery import network_input
from models.grouping import describe, group_photos


@torch.no_grad()
def described(problem: Problem, side: int) -> Float[np.ndarray, "photos channels"]:
    """One description a photo, by the base."""
    base = problem.base
    rows = [describe(base.segmenter.base(network_input(photo[None], side, base.device)).deep)[0] for photo in problem.pixels]
    return np.stack(rows)


@dataclass(frozen=True)
class OursStep1:
    """Alignment of source and gallery in group batches."""

    name: str = "ours_s1"
    learning_rate: float = 2.5e-3
    paper: str = "2107.13978"
    needs_source: bool = True

    def adapt(self, problem: Problem) -> Adapted:
        """Group, align."""
        start = time.monotonic()
        if problem.source is None:
            raise ValueError("this method trains on source photos too: give the problem a source folder")
        config = AlignmentConfig(
            epochs=problem.epochs,
            seed=problem.seed,
            group_size=problem.batch_size,
            side=problem.base.info.side,
            crop=min(AlignmentConfig.crop, problem.base.info.side),
            learning_rate=self.learning_rate,
        )
        groups, _ = group_photos(described(problem, config.describe_side), seed=problem.seed, size=problem.batch_size)
        segmenter = copy.deepcopy(problem.base.segmenter)
        log = align(
            segmenter,
            problem.source,
            problem.pixels,
            groups,
            config,
            device=problem.base.device,
            out_of_time=lambda: time.monotonic() - start >= problem.budget_seconds,
        )
        return Adapted(alone(segmenter), f"{log.steps} of {log.planned_steps} steps", before=alone(problem.base.segmenter))
