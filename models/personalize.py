"""The algorithm box: look → group → pseudo labels → self-train from the base → remember → guard → personal model and report.

Source-free (METHOD, "Decisions"): the gallery's photos are all it sees. Deterministic for a seed on one machine unless the budget binds.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from models.bases.registry import Base
from models.checkpoints import ContextBank, PersonalModel, load_personal, save_delta
from models.comparison import Comparison, views
from models.config import GuardLimits, PersonalizeConfig
from models.explain import changes
from models.gallery import network_input, snap
from models.grouping import describe, group_photos, group_runs
from models.guard import judge
from models.labels import BACKGROUND, IGNORE
from models.preprocess import shrink
from models.pseudo_labels import Prediction, average_predictions, class_thresholds, most_likely, select
from models.segmenter import Segmenter
from models.selftraining import TrainingLog, TrainingSet, self_train
from models.types import Cancelled, PhotoSource, Progress, Verdict

STAGES: tuple[tuple[str, float], ...] = (("looking", 0.10), ("labelling", 0.37), ("training", 0.40), ("checking", 0.13))
"""What a personalisation does, and each stage's usual share of its time (measured on 64 photos, two cores)."""
MIN_PHOTOS = 2  # ours: one photo has no other to learn from


@dataclass(frozen=True)
class Personalization:
    """The result. `candidate` is what was trained, whatever the guard says of it; `report` is JSON."""

    candidate: PersonalModel | None
    verdict: Verdict
    groups: dict[str, int]
    report: dict[str, Any]

    @property
    def model(self) -> PersonalModel | None:
        """The personal model to serve; None where the guard keeps the base."""
        return self.candidate if self.verdict.accepted else None


class Clock:
    """Stages, progress, the wall-clock budget and cancellation."""

    def __init__(self, budget_seconds: float, on_progress: Callable[[Progress], None], should_stop: Callable[[], bool]) -> None:
        self._start, self._budget = time.monotonic(), budget_seconds
        self._on_progress, self._should_stop = on_progress, should_stop
        self._stage_start = self._start
        self._stage: str | None = None
        self.seconds: dict[str, float] = {}
        self.budget_reached = False

    def stage(self, name: str) -> None:
        """Closes the stage before and opens this one."""
        self.close()
        self._stage, self._stage_start = name, time.monotonic()

    def close(self) -> None:
        """Notes how long the open stage took."""
        if self._stage is not None:
            self.seconds[self._stage] = time.monotonic() - self._stage_start
        self._stage = None

    def step(self, step: int, steps: int) -> None:
        """Tells progress. Raises Cancelled where the caller asked to stop."""
        if self._should_stop():
            raise Cancelled
        assert self._stage is not None
        before = sum(share for name, share in STAGES[: [name for name, _ in STAGES].index(self._stage)])
        share = dict(STAGES)[self._stage]
        self._on_progress(Progress(self._stage, step, steps, before + share * step / max(1, steps)))

    def spent(self, share: float) -> bool:
        """Whether `share` of the budget is gone, counted from the start of the job."""
        gone = time.monotonic() - self._start >= share * self._budget
        self.budget_reached |= gone
        return gone

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start


@dataclass(frozen=True)
class Look:
    """What was seen of the gallery: the photos looked at, their groups and small copies of those to learn from."""

    indices: list[int]
    groups: Int64[np.ndarray, " seen"]
    centres: Float[np.ndarray, "groups deep_channels"]
    chosen: list[int]
    """Positions in `indices` of the photos to learn from, group by group."""
    pixels: UInt8[Tensor, "chosen 3 side side"]

    @property
    def chosen_groups(self) -> Int64[np.ndarray, " chosen"]:
        """Group of each photo in `pixels`."""
        return self.groups[self.chosen]


@torch.no_grad()
def look(base: Base, photos: PhotoSource, config: PersonalizeConfig, clock: Clock) -> Look:
    """Reads every photo once (in a seeded order, as long as time allows), describes and groups them, and draws those to learn from."""
    rng = np.random.default_rng(config.seed)
    side = snap(base.info.side * max(config.scales))
    order = [int(i) for i in rng.permutation(len(photos.ids))]
    small: list[Tensor] = []
    rows: list[np.ndarray] = []
    keep = config.max_training_photos
    for done, index in enumerate(order):
        if done >= MIN_PHOTOS and clock.spent(config.describe_share):
            order = order[:done]
            break
        pixels = shrink(photos.load(index), side)
        x = network_input(pixels[None], config.describe_side, base.device)
        rows.append(describe(base.segmenter.base(x).deep)[0])
        if len(small) < keep:  # an even draw: the order is random
            small.append(pixels)
        clock.step(done + 1, len(order))
    groups, centres = group_photos(np.stack(rows), seed=config.seed, size=config.group_size)
    chosen = [int(i) for i in np.argsort(groups[: len(small)], kind="stable")]
    return Look(order, groups, centres, chosen, torch.stack([small[i] for i in chosen]))


@torch.no_grad()
def label(base: Base, seen: Look, config: PersonalizeConfig, clock: Clock) -> Prediction:
    """Averaged predictions for the photos to learn from, group batch by group batch; fewer scales once time runs short."""
    batches = group_runs(seen.chosen_groups, config.group_size)
    parts = []
    for done, batch in enumerate(batches):
        scales = (1.0,) if clock.spent(config.describe_share + config.label_share) else config.scales
        probabilities = average_predictions(base.segmenter, seen.pixels[batch], side=base.info.side, scales=scales, device=base.device)
        parts.append(most_likely(probabilities))
        clock.step(done + 1, len(batches))
    return Prediction(torch.cat([part.labels for part in parts]), torch.cat([part.confidence for part in parts]))


@torch.no_grad()
def remember(base: Base, segmenter: Segmenter, seen: Look, config: PersonalizeConfig) -> ContextBank:
    """The class proxies of the first few photos of each group, by the adapted model."""
    proxies, owners = [], []
    for group in range(len(seen.centres)):
        members = [int(i) for i in np.flatnonzero(seen.chosen_groups == group)[: config.remembered_photos]]
        if members:
            features = segmenter.base(network_input(seen.pixels[members], base.info.side, base.device))
            rows = segmenter.context.describe(features)[1].flatten(0, 1)  # (M·K, C)
            proxies.append(rows.cpu())
            owners.append(torch.full((len(rows),), group, dtype=torch.int32))
    return ContextBank(torch.cat(proxies), torch.cat(owners), seen.centres)


@torch.no_grad()
def check(
    base: Base, model: PersonalModel, photos: PhotoSource, seen: Look, config: PersonalizeConfig, limits: GuardLimits, clock: Clock
) -> Comparison:
    """Base against personal model, each as it would serve, on photos drawn evenly from the gallery."""
    positions = np.unique(np.linspace(0, len(seen.pixels) - 1, min(config.guard_photos, len(seen.pixels))).astype(int))
    comparison = Comparison(base.classes, limits.confident)
    for done, position in enumerate(positions):
        x = network_input(seen.pixels[[int(position)]], base.info.side, base.device)
        bank = model.bank.of(int(seen.chosen_groups[position]))
        before = views(lambda x: base.segmenter(x).logits, x)
        after = views(lambda x, bank=bank: model.segmenter(x, bank=bank).logits, x)  # type: ignore[misc]
        comparison.add(before, after, photo_id=photos.ids[seen.indices[seen.chosen[int(position)]]])
        clock.step(done + 1, len(positions))
        if clock.spent(1.0) and done >= 7:
            break
    return comparison


def personalize(
    base: Base,
    photos: PhotoSource,
    config: PersonalizeConfig | None = None,
    *,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    should_stop: Callable[[], bool] = lambda: False,
    limits: GuardLimits | None = None,
) -> Personalization:
    """Adapts `base` to a gallery, without a label. The base is never changed.

    Raises Cancelled where `should_stop` turns true (asked at every step), and whatever `photos.load` raises.
    """
    config, limits = config or PersonalizeConfig(), limits or GuardLimits()
    clock = Clock(config.budget_seconds, on_progress, should_stop)
    if len(photos.ids) < MIN_PHOTOS:
        verdict = Verdict(False, "too_few_photos", f"Kept the base model, because {len(photos.ids)} photo is too few to learn from.")
        return Personalization(None, verdict, {}, _report(base, photos, config, clock, verdict))

    clock.stage("looking")
    seen = look(base, photos, config, clock)
    clock.stage("labelling")
    prediction = label(base, seen, config, clock)
    thresholds = class_thresholds(prediction, base.classes, config.keep_share)
    labels = select(prediction, thresholds)
    if not ((labels != IGNORE) & (labels != BACKGROUND)).any():
        verdict = Verdict(False, "nothing_to_learn", "Kept the base model, because it sees nothing but background in these photos.")
        return Personalization(None, verdict, _groups(photos, seen), _report(base, photos, config, clock, verdict, seen))

    clock.stage("training")
    adapted = copy.deepcopy(base.segmenter)
    data = TrainingSet(seen.pixels, labels, seen.chosen_groups, snap(base.info.side))
    log = self_train(adapted, data, config, device=base.device, on_step=clock.step, out_of_time=lambda: clock.spent(1 - config.guard_share))
    clock.stage("checking")
    model = load_personal(save_delta(base, adapted, remember(base, adapted, seen, config)), base)
    comparison = check(base, model, photos, seen, config, limits, clock)
    verdict = judge(comparison, limits, base.info.class_names)
    report = _report(base, photos, config, clock, verdict, seen, labels, thresholds, log) | changes(comparison, base.info.class_names)
    return Personalization(model, verdict, _groups(photos, seen), report)


def _groups(photos: PhotoSource, seen: Look) -> dict[str, int]:
    return {photos.ids[index]: int(group) for index, group in zip(seen.indices, seen.groups, strict=True)}


def _report(
    base: Base,
    photos: PhotoSource,
    config: PersonalizeConfig,
    clock: Clock,
    verdict: Verdict,
    seen: Look | None = None,
    labels: Int64[Tensor, "photos h w"] | None = None,
    thresholds: Float[Tensor, " classes"] | None = None,
    log: TrainingLog | None = None,
) -> dict[str, Any]:
    clock.close()
    report: dict[str, Any] = {
        "base": base.info.name,
        "photos": len(photos.ids),
        "verdict": verdict.to_json(),
        "stages": [{"name": name, "seconds": round(seconds, 3)} for name, seconds in clock.seconds.items()],
        "seconds": round(clock.elapsed, 3),
        "budget_reached": clock.budget_reached,
        "settings": config.to_json(),
        "groups": [],
    }
    if seen is not None:
        members = _groups(photos, seen)
        by_group = [sorted(photo for photo, group in members.items() if group == index) for index in range(len(seen.centres))]
        report["groups"] = [{"index": index, "photos": ids, "size": len(ids)} for index, ids in enumerate(by_group)]
        report["photos_seen"], report["photos_learned_from"] = len(seen.indices), len(seen.pixels)
    if labels is not None and thresholds is not None:
        report["pseudo_labels"] = _pseudo_label_report(base, labels, thresholds)
    if log is not None:
        report["training"] = {"steps": log.steps, "planned_steps": log.planned_steps, "losses": [round(loss, 4) for loss in log.losses]}
    return report


def _pseudo_label_report(base: Base, labels: Int64[Tensor, "photos h w"], thresholds: Float[Tensor, " classes"]) -> dict[str, Any]:
    counts = torch.bincount(labels.flatten(), minlength=IGNORE + 1)[: base.classes]
    found = [index for index in range(base.classes) if counts[index] > 0]
    return {
        "labelled_share": round(float(counts.sum()) / labels.numel(), 4),
        "classes": [
            {
                "name": base.info.class_names[index],
                "share": round(float(counts[index]) / labels.numel(), 5),
                "threshold": round(float(thresholds[index]), 4),
            }
            for index in found
        ],
    }  # fmt: skip
