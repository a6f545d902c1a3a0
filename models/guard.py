"""The guard: label-free checks that keep a personal model or refuse it, with a sentence that its user understands.

It compares the base and the personal model on photos of the gallery: do the pixels that the base is sure of keep
their class, does every class that the gallery shows survive, do predictions stay the same under mirroring and at another size, and
are they still near what the base says on average over several views. What was learned may be refused and the appearance kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool

from models.comparison import Comparison
from models.labels import BACKGROUND
from models.steadiness import class_consistency_error
from models.types import Verdict


@dataclass(frozen=True)
class GuardLimits:
    """When the guard refuses. Chosen by reason, checked on galleries of the tuning half of `voc2012/val` (docs/decisions/0022)."""

    min_confident_agreement: float = 0.93
    """Share of the pixels that the base is sure of that must keep their class."""
    min_objects_kept: float = 0.99
    """Where photos are shown as they are: share of the pixels that the base surely sees as an object (any class but background) that must
    keep their class. Where light, colour or side is corrected, a base that is sure and wrong there is what the correction mends.
    (docs/decisions/0040)"""
    collapse_from_share: float = 0.003
    """A class of which the base is sure on at least this share of the gallery …"""
    collapse_from_photos: float = 0.05
    """… and on at least this share of its photos (2 of 32), so that one object that changes its class is no collapse, …"""
    collapse_to_ratio: float = 0.5
    """… must keep at least this ratio of those pixels."""
    max_background_share: float = 0.995
    """A personal model may not call more than this share of the gallery background where the base did not."""
    max_consistency_drop: float = 0.02
    """Agreement of a photo's prediction with that of its mirror image may fall by this much …"""
    max_rescale_drop: float = 0.02
    """… and with that of the photo at another size by this much."""
    max_class_consistency_drop: float = 0.02
    """Agreement of the two views, as the mean IoU over classes, may fall by this much: small classes count as much as large ones; …"""
    class_consistency_errors: float = 2.0
    """… and by this many of its standard errors over the photos (`models.steadiness`): a class may be one object of one photo."""
    max_reference_drop: float = 0.04
    """Agreement with the averaged predictions, from which the pseudo labels came, may fall by this much."""


def judge(comparison: Comparison, limits: GuardLimits, class_names: tuple[str, ...], *, corrected: bool = False) -> Verdict:
    """The verdict on a personal model from its comparison with the base. Where photos are not told apart, no drop is put down to chance.

    `corrected`: photos are shown to both with another light, colour or side than they have. Raises ValueError where nothing was compared:
    that would look like a model that changes nothing.
    """
    if not comparison.total.pixels:
        raise ValueError("no photo was compared, so there is nothing to judge")
    figures = comparison.figures()
    if "class_consistency_after" in figures and (error := class_consistency_error(comparison)) is not None:
        figures["class_consistency_drop_error"] = error
    if not np.isfinite(list(figures.values())).all():
        # No comparison with a limit would refuse it.
        finite = {name: value for name, value in figures.items() if np.isfinite(value)}
        return Verdict(False, "diverged", "Kept the base model, because the personal one's answers are no numbers.", finite)
    if gone := collapsed(comparison, limits):
        says = f"the personal one still sees {_too_little(gone, limits, class_names, 'the base')}"
        return Verdict(False, "class_collapse", f"Kept the base model, because {says}.", figures)
    if all_background(figures, limits):
        return Verdict(
            False, "background_collapse", "Kept the base model, because the personal one calls nearly everything background.", figures
        )
    if figures["confident_agreement"] < limits.min_confident_agreement:
        share = f"{100 * (1 - figures['confident_agreement']):.1f} %"
        return Verdict(
            False,
            "drifted",
            f"Kept the base model, because the personal one changed {share} of the pixels that the base is sure of.",
            figures,
        )
    if not corrected and (objects := objects_kept(comparison, limits)) < limits.min_objects_kept:
        says = f"the personal one takes {100 * (1 - objects):.1f} % of what the base is sure is an object for something else"
        return Verdict(False, "objects_changed", f"Kept the base model, because {says}.", figures)
    drop = figures["consistency_before"] - figures["consistency_after"]
    if drop > limits.max_consistency_drop:
        return Verdict(
            False,
            "inconsistent",
            f"Kept the base model, because the personal one agrees {100 * drop:.1f} points less with itself on mirrored photos.",
            figures,
        )
    if "rescale_consistency_after" in figures:
        drop = figures["rescale_consistency_before"] - figures["rescale_consistency_after"]
        if drop > limits.max_rescale_drop:
            says = f"the personal one agrees {100 * drop:.1f} points less with itself on the same photos at another size"
            return Verdict(False, "size_dependent", f"Kept the base model, because {says}.", figures)
    if "class_consistency_after" in figures:
        drop = figures["class_consistency_before"] - figures["class_consistency_after"]
        by_chance = limits.class_consistency_errors * figures.get("class_consistency_drop_error", 0.0)
        if drop > max(limits.max_class_consistency_drop, by_chance):
            says = f"class by class, the personal one agrees {100 * drop:.1f} points less with itself on mirrored and resized photos"
            return Verdict(False, "unsteady_classes", f"Kept the base model, because {says}.", figures)
    if "reference_agreement_after" in figures:
        drop = figures["reference_agreement_before"] - figures["reference_agreement_after"]
        if drop > limits.max_reference_drop:
            says = (
                f"the personal one strays {100 * drop:.1f} points further from what the base says on average over sizes and mirror images"
            )
            return Verdict(False, "strayed", f"Kept the base model, because {says}.", figures)
    kept, changed = f"{100 * figures['confident_agreement']:.1f} %", f"{100 * figures['changed_share']:.1f} %"
    sentence = f"The personal model is in use: it keeps {kept} of what the base is sure of and changes {changed} of all pixels."
    return Verdict(True, "accepted", sentence, figures)


def untrained(shown_as: str | None) -> Verdict:
    """Where the budget was used up before the first step of training: what is left is the appearance, where that changes anything."""
    if shown_as is None:
        sentence = "Kept the base model, because the time was over before anything was learned from these photos: allow it more."
        return Verdict(False, "no_time_to_learn", sentence)
    sentence = f"Photos are shown to the base model {shown_as}. Nothing was learned beyond that, because the time was over: allow it more."
    return Verdict(True, "appearance_only", sentence)


def judge_appearance(shown: Comparison, shown_as: str | None, limits: GuardLimits, class_names: tuple[str, ...]) -> Verdict | None:
    """A refusal where showing photos so, without any training, breaks what the base saw; None where it does not.

    `shown` compares the base with itself under that appearance; `shown_as`: None where photos are shown as they are. Only what is grossly
    wrong is looked for: a class that vanishes, or nearly everything background. How steady predictions are, and how many pixels change of
    which the base was sure, do not tell corrections that help from those that harm (docs/decisions/0033).
    """
    if shown_as is None:
        return None
    figures = shown.figures()
    if gone := collapsed(shown, limits):
        code, why = "class_collapse", f"it still sees {_too_little(gone, limits, class_names, 'it')}"
    elif all_background(figures, limits):
        code, why = "background_collapse", "it called nearly everything background"
    else:
        return None
    return Verdict(False, code, f"Kept the base model and photos as they are, because with photos shown to it {shown_as} {why}.", figures)


def collapsed(comparison: Comparison, limits: GuardLimits) -> list[int]:
    """Classes of which the personal model sees too little of what the base surely sees.

    Only pixels that the base is sure of count: a class that it merely guessed at may vanish, which is often the gain.
    """
    total = comparison.total
    large = total.sure_before >= limits.collapse_from_share * max(1, total.pixels)
    gone = total.sure_kept < limits.collapse_to_ratio * total.sure_before
    return [int(index) for index in np.flatnonzero(large & _seen_often(comparison, limits) & gone)]


def objects_kept(comparison: Comparison, limits: GuardLimits) -> float:
    """Of the pixels that the base is sure are an object the share that keep their class; 1 where they are too few to tell anything.

    As with a collapse, a class counts that several photos show: one object may change its class.
    """
    total = comparison.total
    objects = _seen_often(comparison, limits)
    objects[BACKGROUND] = False
    sure, kept = int(total.sure_before[objects].sum()), int(total.sure_kept[objects].sum())
    return kept / sure if sure >= max(1.0, limits.collapse_from_share * total.pixels) else 1.0


def _seen_often(comparison: Comparison, limits: GuardLimits) -> Bool[np.ndarray, " classes"]:
    """Which classes the base is sure of on several photos."""
    total = comparison.total
    return np.asarray(total.sure_photos >= limits.collapse_from_photos * total.photos)


def _too_little(classes: list[int], limits: GuardLimits, class_names: tuple[str, ...], whose: str) -> str:
    names = ", ".join(class_names[index] for index in classes)
    return f"less than {100 * limits.collapse_to_ratio:.0f} % of what {whose} was sure of: {names}"


def all_background(figures: Mapping[str, float], limits: GuardLimits) -> bool:
    """Whether nearly everything is background now, and was not before."""
    return figures["background_after"] > limits.max_background_share >= figures["background_before"]


def settle(learned: Comparison, shown_as: str | None, limits: GuardLimits, class_names: tuple[str, ...]) -> Verdict:
    """What is served: the trained model, else its appearance alone where that changes anything, else the base.

    `learned` compares the base under that appearance with the trained model; `shown_as` says in words how photos are shown (None: as they
    are). The appearance has a judge of its own (`judge_appearance`): where it is refused, so is all that was learned under it.
    """
    verdict = judge(learned, limits, class_names, corrected=shown_as is not None)
    if shown_as is None:
        return verdict
    if verdict.accepted:
        beyond = verdict.sentence.removeprefix("The personal model is in use: it ")
        sentence = f"The personal model is in use: photos are shown to it {shown_as}; beyond that it {beyond}"
        return replace(verdict, sentence=sentence)
    why = verdict.sentence.removeprefix("Kept the base model, because ")
    sentence = f"Photos are shown to the base model {shown_as}. What was learned beyond that is not kept, because {why}"
    return Verdict(True, "appearance_only", sentence, verdict.figures)
