"""The stages of a personalisation, each with its own line in the checkpoint: what an earlier run ended is taken from there."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from models.alignment import STAGE as ALIGNMENT
from models.alignment import AlignmentConfig, AlignmentLog, align
from models.appearance import AS_IT_IS, Appearance, Choice, choose_appearance
from models.bases.registry import Base
from models.check import STAGE as CHECKING
from models.check import stored_file
from models.checkpoint_file import Section
from models.checkpoints import ContextBank, PersonalModel, load_personal, save_delta
from models.clock import Clock
from models.config import PersonalizeConfig
from models.datasets import LabelledFolder
from models.gallery import network_input
from models.grouping import group_runs
from models.held_out import learned_from
from models.labels import BACKGROUND, IGNORE
from models.look import MIN_PHOTOS, Look
from models.memory import Portions
from models.pseudo_labels import Prediction, average_predictions, class_thresholds, concatenate, easy_photos, most_likely, select
from models.resume import Journal, parameters_of, restore_parameters
from models.segmenter import Segmenter
from models.selftraining import STAGE as TRAINING
from models.selftraining import TrainingLog, TrainingSet, is_finite, self_train, step_back


class OutOfTime(Exception):
    """The budget is used up before anything could be learned."""


@dataclass(frozen=True)
class Run:
    """What every stage of one personalisation needs."""

    base: Base
    config: PersonalizeConfig
    clock: Clock
    journal: Journal
    portions: Portions


def shown_by(run: Run, seen: Look, *, parts: int = 1) -> tuple[Look, Choice]:
    """The photos in the appearance that fits the base best, and which that is; the first of the stage's `parts`."""
    if (finished := run.journal.finished("aligning")) is not None:
        choice = Choice(Appearance.exactly(finished.facts["appearance"]), dict(finished.facts["distances"]))
    else:
        choice = _choice(run, seen, parts) if run.config.appearance else Choice(Appearance.untouched(run.base.info.side), {})
        run.journal.finish("aligning", lambda: Section(facts=asdict(choice)))
    return replace(seen, appearance=choice.appearance), choice


def _choice(run: Run, seen: Look, parts: int) -> Choice:
    def on_step(step: int, steps: int, distances: dict[str, float]) -> None:
        run.journal.note("aligning", lambda: Section(facts={"distances": dict(distances)}))
        run.clock.step(step, parts * steps)

    out_of_time = lambda: run.clock.spent(run.config.describe_share + run.config.appearance_share)  # noqa: E731

    def choice(at_once: int) -> Choice:
        known = run.journal.begun("aligning").facts.get("distances")
        return choose_appearance(
            run.base, seen.pixels, known=known, at_once=at_once, on_step=on_step, heed=run.portions.heed, out_of_time=out_of_time
        )

    return run.portions.attempt(choice)


def align_with(run: Run, source: LabelledFolder, segmenter: Segmenter, shown: Look, side: int) -> AlignmentLog | None:
    """Step 1 as published, of the second half of its stage; `segmenter` is changed, so it must be a copy of the base's.

    None, and the base's weights, where it diverged.
    """
    if (finished := run.journal.finished(ALIGNMENT)) is not None:
        restore_parameters(segmenter, finished.tensors)
        return AlignmentLog(**finished.facts["log"]) if finished.facts["log"] else None
    settings = AlignmentConfig(seed=run.config.seed, group_size=run.config.group_size, side=side, crop=min(AlignmentConfig.crop, side))
    log = align(
        segmenter,
        source,
        shown.shown(range(len(shown.pixels))),
        shown.chosen_groups,
        settings,
        device=run.base.device,
        out_of_time=lambda: run.clock.spent(run.config.describe_share + run.config.source_share),
        on_step=lambda step, steps: run.clock.step(steps + step, 2 * steps),
        journal=run.journal,
        portions=run.portions,
    )
    diverged = not is_finite(segmenter)
    if diverged:
        restore_parameters(segmenter, parameters_of(run.base.segmenter))
    run.journal.finish(ALIGNMENT, lambda: Section(parameters_of(segmenter), {"log": None if diverged else asdict(log)}))
    return None if diverged else log


def is_shifted(run: Run, choice: Choice) -> bool:
    """Whether the gallery, as it is, comes from a camera that the base does not know: there it takes too much for background."""
    found, familiar = choice.distances.get(AS_IT_IS), run.base.info.familiar_distance
    return found is not None and familiar is not None and found > run.config.shifted_from * familiar


@torch.no_grad()
def label(run: Run, segmenter: Segmenter, shown: Look, side: int) -> Prediction:
    """Averaged predictions for the photos to learn from, group batch by group batch; fewer scales once time runs short.

    Of the first of them only, where it runs out: half of what is left after `label_share` is for the training. Raises OutOfTime where
    it does so before MIN_PHOTOS are labelled.
    """
    soon = run.config.describe_share + run.config.label_share
    end = (soon + 1 - run.config.guard_share) / 2

    def heed() -> None:
        run.portions.heed()
        if run.clock.spent(end):
            raise OutOfTime

    batches = group_runs(shown.chosen_groups, run.config.group_size)
    size = run.base.info.side // 2
    begun = run.journal.begun("labelling")
    parts = [Prediction(**begun.tensors)] if begun.facts else []
    for done in range(begun.facts.get("batches", 0), len(batches)):
        pixels = shown.shown(batches[done])
        scales = (1.0,) if run.clock.spent(soon) else run.config.scales
        average = partial(average_predictions, segmenter, pixels, side=side, scales=scales, device=run.base.device, size=size, heed=heed)
        try:
            parts.append(run.portions.attempt(lambda at_once, average=average: most_likely(average(at_once=at_once))))  # type: ignore[misc]
        except OutOfTime:
            break
        run.journal.note("labelling", lambda done=done: Section(concatenate(parts)._asdict(), {"batches": done + 1}))  # type: ignore[misc]
        run.clock.step(done + 1, len(batches))
    if sum(len(part.labels) for part in parts) < MIN_PHOTOS:
        raise OutOfTime
    return concatenate(parts)


@dataclass(frozen=True)
class Labels:
    """What is learned, and how it was chosen."""

    averaged: UInt8[Tensor, "chosen h w"]
    """The most likely class everywhere."""
    selected: UInt8[Tensor, "chosen h w"]
    """The same where it is sure enough, IGNORE elsewhere."""
    thresholds: Float[Tensor, " classes"]

    def teach_something(self, positions: Sequence[int]) -> bool:
        """Whether any pixel of these photos has a label that is not background."""
        learned = self.selected[list(positions)]
        return bool(((learned != IGNORE) & (learned != BACKGROUND)).any())


def pseudo_labels(run: Run, segmenter: Segmenter, shown: Look, choice: Choice) -> Labels:
    """Averaged predictions, of which each class keeps its most confident pixels; of fewer photos where time ran out. Raises OutOfTime."""
    if (finished := run.journal.finished("labelling")) is not None:
        return Labels(**finished.tensors)
    prediction = label(run, segmenter, shown, choice.appearance.side)
    keep_share = run.config.keep_share_shifted if is_shifted(run, choice) else run.config.keep_share
    thresholds = class_thresholds(prediction, run.base.classes, keep_share, balanced=run.config.class_balance)
    selected = select(prediction, thresholds)
    selected[~easy_photos(prediction.entropy, run.config.easy_share)] = IGNORE
    labels = Labels(prediction.labels, selected, thresholds)
    run.journal.finish("labelling", lambda: Section(dict(vars(labels))))
    return labels


def train(run: Run, start: Segmenter, shown: Look, labels: Labels) -> tuple[Segmenter, TrainingLog]:
    """The adapted network, which began as `start`, and how it learned."""
    adapted = copy.deepcopy(start)
    if (finished := run.journal.finished(TRAINING)) is not None:
        restore_parameters(adapted, finished.tensors)
        facts = finished.facts
        return adapted, TrainingLog(facts["steps"], facts["planned_steps"], tuple(facts["losses"]))
    assert shown.appearance is not None
    positions = learned_from(len(shown.pixels), run.config)
    data = TrainingSet(shown.pixels, labels.selected, shown.chosen_groups, shown.appearance.side, positions, shown.appearance)
    out_of_time = lambda: run.clock.spent(1 - run.config.guard_share)  # noqa: E731
    log = self_train(
        adapted,
        data,
        run.config,
        device=run.base.device,
        on_step=run.clock.step,
        out_of_time=out_of_time,
        journal=run.journal,
        portions=run.portions,
    )
    step_back(adapted, start, run.config.step_share)
    run.journal.finish(TRAINING, lambda: Section(parameters_of(adapted), asdict(log)))
    return adapted, log


def teacher(run: Run) -> Segmenter:
    """A copy of the base's segmenter, without its context where the settings leave it out."""
    segmenter = copy.deepcopy(run.base.segmenter)
    segmenter.use_context = run.config.context
    return segmenter.eval()


@torch.no_grad()
def remember(run: Run, segmenter: Segmenter, shown: Look, side: int) -> ContextBank:
    """The class proxies of the first few photos of each group, by the adapted model; none where it does without context."""
    proxies, owners = [torch.zeros(0, segmenter.context.channels)], [torch.zeros(0, dtype=torch.int32)]
    for group in range(len(shown.centres) if segmenter.use_context else 0):
        members = [int(i) for i in np.flatnonzero(shown.chosen_groups == group)[: run.config.remembered_photos]]
        if members:
            run.portions.heed()
            features = segmenter.base(network_input(shown.shown(members), side, run.base.device))
            rows = segmenter.context.describe(features)[1].flatten(0, 1)  # (M·K, C)
            proxies.append(rows.cpu())
            owners.append(torch.full((len(rows),), group, dtype=torch.int32))
    return ContextBank(torch.cat(proxies), torch.cat(owners), shown.centres)


def as_stored(run: Run, segmenter: Segmenter, shown: Look, name: str) -> PersonalModel:
    """The personal model as its file holds it: what is judged is what is served. `name`: of the file in the checkpoint."""
    assert shown.appearance is not None
    stored = stored_file(run.journal.begun(CHECKING), name)
    if stored is None:
        bank = remember(run, segmenter, shown, shown.appearance.side)
        stored = save_delta(run.base, segmenter, bank, shown.appearance)
    return load_personal(stored, run.base)
