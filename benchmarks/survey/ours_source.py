"""Ours where the operator has given source photos (`PERSONALSEG_SOURCE_DIR`): step 1 with them, then step 2, as the workers do it.

`adapt` reads as `Ours.adapt` does, with the source photos. It stands apart because that file is in the key of every cell of ours
(docs/decisions/0031): with the next change that costs those cells the two become one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from benchmarks.survey.context import alone
from benchmarks.survey.guarded import Guarded
from benchmarks.survey.interface import Adapted, Problem
from benchmarks.survey.ours import Ours, _served
from models.config import PersonalizeConfig
from models.inference import segment
from models.personalize import personalize


@dataclass(frozen=True)
class OursWithSource(Ours):
    """METHOD, steps 1 and 2 (arXiv 2107.13978): alignment with labelled source photos before self-training."""

    name: str = "ours_source"
    needs_source: bool = True

    def adapt(self, problem: Problem) -> Adapted:
        """As `Ours.adapt`. Raises ValueError where the problem has no source photos."""
        if problem.source is None:
            raise ValueError("this method trains on source photos too: give the problem a source folder")
        settings = {**self.settings, **problem.settings}
        config = PersonalizeConfig(budget_seconds=problem.budget_seconds, seed=problem.seed, **settings)
        base = problem.base
        result = personalize(base, problem.photos, config, source=problem.source)
        before = alone(base.segmenter)
        if result.candidate is None:
            return Adapted(
                before,
                result.verdict.sentence,
                before=before,
                segment=lambda photo: segment(base, photo).labels,
                verdict=result.verdict,
            )
        model, unlearned = result.candidate, result.unlearned
        return Guarded(
            forward=lambda x: torch.cat([_served(base, model, photo[None]) for photo in x]),
            note=result.verdict.sentence,
            before=before,
            segment=lambda photo: segment(base, photo, model).labels,
            learned=result.learned,
            shown_as=result.shown_as,
            shown=result.shown if result.unlearned else None,
            served=None if unlearned is None else lambda photo: segment(base, photo, unlearned).labels,
            model_bytes=len(model.stored),
        )
