"""The algorithm box: look → group → align the appearance → pseudo labels → self-train from the base → remember → guard → personal model.

Source-free (METHOD, "Decisions"): the gallery's photos are all it sees. Deterministic for a seed on one machine unless the budget binds.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from models.alignment import AlignmentConfig, AlignmentLog, align
from models.appearance import AS_IT_IS, Appearance, Choice, choose_appearance
from models.bases.registry import Base
from models.check import check
from models.checkpoints import ContextBank, PersonalModel, load_personal, save_delta
from models.clock import Clock
from models.config import GuardLimits, PersonalizeConfig
from models.datasets import LabelledFolder
from models.explain import changes
from models.gallery import network_input
from models.grouping import group_runs
from models.guard import settle
from models.labels import BACKGROUND, IGNORE
from models.look import MIN_PHOTOS, Look, look
from models.pseudo_labels import Prediction, average_predictions, class_thresholds, concatenate, easy_photos, most_likely, select
from models.report import report_of
from models.segmenter import Segmenter
from models.selftraining import TrainingSet, is_finite, self_train, step_back
from models.types import PhotoSource, Progress, Verdict


@dataclass(frozen=True)
class Personalization:
    """The result. `candidate` is what was trained, whatever the guard says of it; `report` is JSON."""

    candidate: PersonalModel | None
    verdict: Verdict
    groups: dict[str, int]
    report: dict[str, Any]
    model: PersonalModel | None = None
    """What to serve: the candidate, or the base's weights under the gallery's appearance; None where the guard keeps the base."""


def shown_by(base: Base, seen: Look, config: PersonalizeConfig, clock: Clock, *, parts: int = 1) -> tuple[Look, Choice]:
    """The photos in the appearance that fits the base best, and which that is; the first of the stage's `parts`."""
    if config.appearance:
        choice = choose_appearance(base, seen.pixels, on_step=lambda step, steps: clock.step(step, parts * steps))
    else:
        choice = Choice(Appearance.untouched(base.info.side), {})
    return replace(seen, pixels=choice.appearance.show(seen.pixels)), choice


def align_with(
    source: LabelledFolder, segmenter: Segmenter, shown: Look, side: int, base: Base, config: PersonalizeConfig, clock: Clock
) -> AlignmentLog:
    """Step 1 as published, of the second half of its stage; `segmenter` is changed, so it must be a copy of the base's."""
    settings = AlignmentConfig(seed=config.seed, group_size=config.group_size, side=side, crop=min(AlignmentConfig.crop, side))
    return align(
        segmenter,
        source,
        shown.pixels,
        shown.chosen_groups,
        settings,
        device=base.device,
        out_of_time=lambda: clock.spent(config.describe_share + config.source_share),
        on_step=lambda step, steps: clock.step(steps + step, 2 * steps),
    )


def is_shifted(base: Base, choice: Choice, config: PersonalizeConfig) -> bool:
    """Whether the gallery, as it is, comes from a camera that the base does not know: there it takes too much for background."""
    found, familiar = choice.distances.get(AS_IT_IS), base.info.familiar_distance
    return found is not None and familiar is not None and found > config.shifted_from * familiar


@torch.no_grad()
def label(base: Base, segmenter: Segmenter, shown: Look, side: int, config: PersonalizeConfig, clock: Clock) -> Prediction:
    """Averaged predictions for the photos to learn from, group batch by group batch; fewer scales once time runs short."""
    batches = group_runs(shown.chosen_groups, config.group_size)
    size = base.info.side // 2
    parts = []
    for done, batch in enumerate(batches):
        scales = (1.0,) if clock.spent(config.describe_share + config.label_share) else config.scales
        probabilities = average_predictions(segmenter, shown.pixels[batch], side=side, scales=scales, device=base.device, size=size)
        parts.append(most_likely(probabilities))
        clock.step(done + 1, len(batches))
    return concatenate(parts)


def teacher(base: Base, config: PersonalizeConfig) -> Segmenter:
    """A copy of the base's segmenter, without its context where the settings leave it out."""
    segmenter = copy.deepcopy(base.segmenter)
    segmenter.use_context = config.context
    return segmenter.eval()


@torch.no_grad()
def remember(base: Base, segmenter: Segmenter, shown: Look, side: int, config: PersonalizeConfig) -> ContextBank:
    """The class proxies of the first few photos of each group, by the adapted model; none where it does without context."""
    proxies, owners = [torch.zeros(0, segmenter.context.channels)], [torch.zeros(0, dtype=torch.int32)]
    for group in range(len(shown.centres) if segmenter.use_context else 0):
        members = [int(i) for i in np.flatnonzero(shown.chosen_groups == group)[: config.remembered_photos]]
        if members:
            features = segmenter.base(network_input(shown.pixels[members], side, base.device))
            rows = segmenter.context.describe(features)[1].flatten(0, 1)  # (M·K, C)
            proxies.append(rows.cpu())
            owners.append(torch.full((len(rows),), group, dtype=torch.int32))
    return ContextBank(torch.cat(proxies), torch.cat(owners), shown.centres)


def personalize(
    base: Base,
    photos: PhotoSource,
    config: PersonalizeConfig | None = None,
    *,
    source: LabelledFolder | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    should_stop: Callable[[], bool] = lambda: False,
    limits: GuardLimits | None = None,
) -> Personalization:
    """Adapts `base` to a gallery, without a label of it. The base is never changed.

    `source`: labelled photos of the public set; where given, step 1 aligns the network with them first (`models.alignment`).
    Raises Cancelled where `should_stop` turns true (asked at every step), and whatever `photos.load` raises.
    """
    config, limits = config or PersonalizeConfig(), limits or GuardLimits()
    clock = Clock(config.budget_seconds, on_progress, should_stop)
    if len(photos.ids) < MIN_PHOTOS:
        verdict = Verdict(False, "too_few_photos", f"Kept the base model, because {len(photos.ids)} photo is too few to learn from.")
        return Personalization(None, verdict, {}, report_of(base, photos, config, clock, verdict))

    clock.stage("looking")
    seen = look(base, photos, config, clock)
    clock.stage("aligning")
    shown, choice = shown_by(base, seen, config, clock, parts=1 if source is None else 2)
    side = choice.appearance.side
    start = teacher(base, config)
    aligned = None if source is None else align_with(source, start, shown, side, base, config, clock)
    if not is_finite(start):
        start, aligned = teacher(base, config), None  # the alignment diverged: the report has none
    clock.stage("labelling")
    prediction = label(base, start, shown, side, config, clock)
    keep_share = config.keep_share_shifted if is_shifted(base, choice, config) else config.keep_share
    thresholds = class_thresholds(prediction, base.classes, keep_share, balanced=config.class_balance)
    labels = select(prediction, thresholds)
    labels[~easy_photos(prediction.entropy, config.easy_share)] = IGNORE
    if not ((labels != IGNORE) & (labels != BACKGROUND)).any():
        verdict = Verdict(False, "nothing_to_learn", "Kept the base model, because it sees nothing but background in these photos.")
        return Personalization(None, verdict, seen.group_of(photos), report_of(base, photos, config, clock, verdict, seen, choice))

    clock.stage("training")
    adapted = copy.deepcopy(start)
    data = TrainingSet(shown.pixels, labels, shown.chosen_groups, side)
    log = self_train(adapted, data, config, device=base.device, on_step=clock.step, out_of_time=lambda: clock.spent(1 - config.guard_share))
    step_back(adapted, start, config.step_share)
    if not is_finite(adapted):
        verdict = Verdict(False, "diverged", "Kept the base model, because the training did not converge.")
        report = report_of(base, photos, config, clock, verdict, seen, choice, labels, thresholds, log, aligned)
        return Personalization(None, verdict, seen.group_of(photos), report)
    clock.stage("checking")
    candidate = _as_stored(base, adapted, shown, choice, config)
    unlearned = _as_stored(base, teacher(base, config), shown, choice, config) if choice.appearance.changes_anything else None
    comparisons = check(base, unlearned, candidate, photos, seen, prediction.labels, config, limits, clock)
    verdict = settle(comparisons.learned, choice.appearance, limits, base.info.class_names)
    model = {"accepted": candidate, "appearance_only": unlearned}.get(verdict.code)
    told = comparisons.to_unlearned if verdict.code == "appearance_only" else comparisons.to_candidate
    report = report_of(base, photos, config, clock, verdict, seen, choice, labels, thresholds, log, aligned)
    return Personalization(candidate, verdict, seen.group_of(photos), report | changes(told, base.info.class_names), model)


def _as_stored(base: Base, segmenter: Segmenter, shown: Look, choice: Choice, config: PersonalizeConfig) -> PersonalModel:
    """The personal model as its file holds it: what is judged is what is served."""
    bank = remember(base, segmenter, shown, choice.appearance.side, config)
    return load_personal(save_delta(base, segmenter, bank, choice.appearance), base)
