"""The algorithm box: look → group → align the appearance → pseudo labels → self-train from the base → remember → guard → personal model.

Source-free (METHOD, "Decisions"): the gallery's photos are all it sees. Deterministic for a seed on one machine's CPU
unless the budget binds; on CUDA sums of gradients come in no fixed order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from models.bases.registry import Base
from models.check import check
from models.checkpoints import PersonalModel
from models.clock import Clock
from models.comparison import Comparison
from models.config import PersonalizeConfig
from models.datasets import LabelledFolder
from models.explain import changes
from models.guard import GuardLimits, judge_appearance, settle, untrained
from models.held_out import learned_from
from models.look import MIN_PHOTOS, TooFewPhotos, look
from models.memory import Portions
from models.report import left_out_json, report_of
from models.resume import CheckpointStore, Journal, hash_of
from models.selftraining import is_finite
from models.stages import OutOfTime, Run, align_with, as_stored, pseudo_labels, shown_by, teacher, train
from models.types import PhotoSource, Progress, Verdict


@dataclass(frozen=True)
class Personalization:
    """The result. `candidate` is what was trained, whatever the guard says of it; `report` is JSON."""

    candidate: PersonalModel | None
    verdict: Verdict
    groups: dict[str, int]
    report: dict[str, Any]
    model: PersonalModel | None = None
    """What to serve: the candidate, or `unlearned`; None where the guard keeps the base."""
    unlearned: PersonalModel | None = None
    """The base's weights under the gallery's appearance; None where photos are shown as they are, or nothing was trained."""
    learned: Comparison | None = None
    """What the guard judged: the base under that appearance beside the candidate; None where nothing was trained."""
    shown_as: str | None = None
    """That appearance in words; None where photos are shown as they are, or nothing was trained."""
    shown: Comparison | None = None
    """What the guard judged of that appearance: the base beside the base under it; None where nothing was trained."""


def personalize(
    base: Base,
    photos: PhotoSource,
    config: PersonalizeConfig | None = None,
    *,
    source: LabelledFolder | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    should_stop: Callable[[], bool] = lambda: False,
    limits: GuardLimits | None = None,
    checkpoints: CheckpointStore | None = None,
) -> Personalization:
    """Adapts `base` to a gallery, without a label of it. The base is never changed.

    `source`: labelled photos of the public set; where given, step 1 aligns the network with them first (`models.alignment`).
    `checkpoints`: where the run is saved every few seconds; it goes on from a checkpoint of the same job, and the result is the same.
    Raises Cancelled where `should_stop` turns true (asked at every step), and whatever `photos.load` raises but PhotoUnavailable.
    """
    config, limits = config or PersonalizeConfig(), limits or GuardLimits()
    clock = Clock(config.budget_seconds, on_progress, should_stop)
    if len(photos.ids) < MIN_PHOTOS:
        verdict = Verdict(False, "too_few_photos", f"Kept the base model, because {len(photos.ids)} photo is too few to learn from.")
        return Personalization(None, verdict, {}, report_of(base, photos, config, clock, verdict))
    journal = Journal.open(checkpoints, clock, what_fits(base, photos, config, limits, source), tuple(photos.ids))
    run = Run(base, config, clock, journal, Portions.fitting(base.device, config.group_size, config.photos_at_once, clock.look))
    report = partial(report_of, base, photos, config, clock, journal=journal)

    clock.stage("looking")
    try:
        seen = look(base, photos, config, clock, journal)
    except TooFewPhotos as error:
        verdict = _too_few(photos, error)
        return Personalization(None, verdict, {}, report(verdict) | {"photos_left_out": left_out_json(error.left_out)})
    clock.stage("aligning")
    shown, choice = shown_by(run, seen, parts=1 if source is None else 2)
    start = teacher(run)
    aligned = None if source is None else align_with(run, source, start, shown, choice.appearance.side)
    clock.stage("labelling")
    try:
        labels = pseudo_labels(run, start, shown, choice)
    except OutOfTime:
        verdict = untrained(None)
        return Personalization(None, verdict, seen.group_of(photos), report(verdict, seen, choice))
    was_cut_short = len(labels.averaged) < len(seen.pixels)
    seen, shown = (found.first(len(labels.averaged)) for found in (seen, shown))
    if not labels.teach_something(learned_from(len(seen.pixels), config)):
        sentence = "Kept the base model, because it sees nothing but background in the photos to learn from."
        verdict = untrained(None) if was_cut_short else Verdict(False, "nothing_to_learn", sentence)
        return Personalization(None, verdict, seen.group_of(photos), report(verdict, seen, choice))

    clock.stage("training")
    adapted, log = train(run, start, shown, labels)
    told = (seen, choice, labels.selected, labels.thresholds, log, aligned)
    if not is_finite(adapted):
        verdict = Verdict(False, "diverged", "Kept the base model, because the training did not converge.")
        return Personalization(None, verdict, seen.group_of(photos), report(verdict, *told))
    learned_nothing = log.steps == 0 < log.planned_steps and not (aligned and aligned.steps)
    if learned_nothing and not choice.appearance.changes_anything:
        verdict = untrained(None)
        return Personalization(None, verdict, seen.group_of(photos), report(verdict, *told))
    clock.stage("checking")
    candidate = as_stored(run, adapted, shown, "candidate")
    unlearned, shown_as = None, None
    if choice.appearance.changes_anything:
        unlearned, shown_as = as_stored(run, teacher(run), shown, "unlearned"), choice.appearance.words
    comparisons = check(base, unlearned, candidate, photos, seen, labels.averaged, config, clock, journal)
    if (refusal := judge_appearance(comparisons.to_unlearned, shown_as, limits, base.info.class_names)) is not None:
        verdict = refusal
    elif learned_nothing:
        verdict = untrained(shown_as)
    else:
        verdict = settle(comparisons.learned, shown_as, limits, base.info.class_names)
    if verdict.code == "accepted" and log.steps < log.planned_steps:
        cut = f"{verdict.sentence} Its time was over after {log.steps} of {log.planned_steps} steps: more time may make it better."
        verdict = replace(verdict, sentence=cut)
    model = {"accepted": candidate, "appearance_only": unlearned}.get(verdict.code)
    changed = comparisons.to_unlearned if verdict.code == "appearance_only" else comparisons.to_candidate
    whole_report = report(verdict, *told) | changes(changed, base.info.class_names)
    judged = (comparisons.learned, shown_as, comparisons.to_unlearned)
    return Personalization(candidate, verdict, seen.group_of(photos), whole_report, model, unlearned, *judged)


def what_fits(base: Base, photos: PhotoSource, config: PersonalizeConfig, limits: GuardLimits, source: LabelledFolder | None) -> str:
    """A hash of all that the result depends on: a checkpoint of anything else is of no use."""
    return hash_of(
        {
            "base": base.info.name,
            "weights": base.info.sha256,
            "device": base.device.type,
            "config": config.to_json(),
            "limits": asdict(limits),
            "photos": list(photos.ids),
            "source": None if source is None else list(source.ids),
        }
    )


def _too_few(photos: PhotoSource, error: TooFewPhotos) -> Verdict:
    if error.seen >= MIN_PHOTOS:
        sentence = (
            f"Kept the base model, because the {error.seen} photos looked at show one and the same picture, too little to learn from."
        )
        return Verdict(False, "too_few_photos", sentence)
    left = len(photos.ids) - len(error.left_out)
    reason = next(iter(error.left_out.values()), "")
    sentence = f"Kept the base model, because only {left} of {len(photos.ids)} photos could be read, too few to learn from."
    return Verdict(False, "too_few_photos", f"{sentence} The first that could not: {reason}" if reason else sentence)
