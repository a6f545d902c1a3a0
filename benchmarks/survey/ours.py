"""Ours: `models.personalize`, with settings that a variant or an ablation overrides; scored as the service segments, photo by photo."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.survey.context import alone
from benchmarks.survey.guarded import Guarded
from benchmarks.survey.interface import Adapted, Problem
from models.bases.registry import Base
from models.checkpoints import PersonalModel
from models.config import PersonalizeConfig
from models.inference import personal_logits, segment
from models.personalize import personalize
from models.preprocess import denormalize


@dataclass(frozen=True)
class Ours:
    """The project's method (METHOD; arXiv 2107.13978). `settings`: fields of PersonalizeConfig that differ from the default."""

    name: str = "ours"
    settings: dict[str, Any] = field(default_factory=dict)
    paper: str = "2107.13978"
    needs_source: bool = False

    def adapt(self, problem: Problem) -> Adapted:
        """Personalises; what the guard saw travels with the candidate, which is scored whatever the guard says."""
        settings = {**self.settings, **problem.settings}
        config = PersonalizeConfig(budget_seconds=problem.budget_seconds, seed=problem.seed, **settings)
        result = personalize(problem.base, problem.photos, config)
        before = alone(problem.base.segmenter)
        if result.candidate is None:
            segment_base = lambda photo: segment(problem.base, photo).labels  # noqa: E731
            return Adapted(before, result.verdict.sentence, before=before, segment=segment_base, verdict=result.verdict)
        model, unlearned = result.candidate, result.unlearned
        return Guarded(
            forward=lambda x: torch.cat([_served(problem.base, model, photo[None]) for photo in x]),
            note=result.verdict.sentence,
            before=before,
            segment=lambda photo: segment(problem.base, photo, model).labels,
            learned=result.learned,
            shown_as=result.shown_as,
            shown=result.shown if result.unlearned else None,
            served=None if unlearned is None else lambda photo: segment(problem.base, photo, unlearned).labels,
            model_bytes=len(model.stored),
        )


def _served(base: Base, model: PersonalModel, x: Float[Tensor, "1 3 h w"]) -> Float[Tensor, "1 classes h2 w2"]:
    """One normalised photo through the personal model as `models.segment` does it."""
    return personal_logits(model, denormalize(x), base.device)
