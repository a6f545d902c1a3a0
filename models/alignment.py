"""Step 1: alignment with labelled source photos (METHOD, "The published pipeline", 5; AdvEnt, arXiv 1811.12833).

Each step takes a group batch of the user's photos and one of the source's. The segmenter learns the source's labels, and to give the
user's photos output maps that two discriminators (of the logits with context, and of the base's own) cannot tell from the source's.
Batch-norm statistics stay (METHOD, "What is known to go wrong"). Deterministic for a seed on one machine's CPU unless time
runs out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from models.adversarial import BETAS, Discriminator, discriminator_step, fooling_loss, weighted_self_information
from models.augment import maybe_flip
from models.checkpoint_file import Section
from models.datasets import LabelledFolder
from models.gallery import network_input, snap
from models.grouping import describe, group_batches, group_photos
from models.labels import IGNORE
from models.losses import masked_cross_entropy
from models.memory import Portions, features_in_pieces, nothing
from models.preprocess import normalize, shrink
from models.resume import Journal, moments_of, parameters_of, restore_moments, restore_parameters
from models.segmenter import Segmenter

STAGE = "alignment"


@dataclass(frozen=True)
class AlignmentConfig:
    """How to align. Lengths in pixels; the published values unless said otherwise."""

    epochs: int = 2
    """Passes over the user's photos (ours: minutes, not the published 120,000 steps)."""
    seed: int = 0
    group_size: int = 8  # METHOD, 2: photos a batch, of each domain
    source_photos: int = 160  # ours: a seeded draw of the source set, grouped and used
    describe_side: int = 224  # ours: as for the user's photos

    learning_rate: float = 2.5e-3  # METHOD, 5: SGD
    momentum: float = 0.9
    weight_decay: float = 5e-4
    power: float = 0.9  # of the polynomial decay
    gradient_norm: float = 1.0
    """Ours: without it the shipped base was seen to diverge (nan) within twelve steps at the published rate, batch norm being frozen."""
    discriminator_rate: float = 1e-4
    adversarial_weight: float = 1e-3  # of the logits with context
    auxiliary_adversarial_weight: float = 2e-4  # of the base's own logits
    auxiliary_weight: float = 0.4  # of the cross-entropy of the base's own logits

    scales: tuple[float, float] = (0.75, 1.25)  # ours: range of the random scale, times `side`
    side: int = 384
    crop: int = 320  # METHOD, 5

    def to_json(self) -> dict[str, Any]:
        """For the report."""
        return asdict(self)


@dataclass(frozen=True)
class AlignmentLog:
    """How it went: means over the steps done (nan without a step), in nats; `confusion` is the discriminators' loss (log 2 = no idea)."""

    steps: int
    planned_steps: int
    supervised: float
    adversarial: float
    confusion: float


@torch.no_grad()
def draw_source(
    segmenter: Segmenter,
    source: LabelledFolder,
    config: AlignmentConfig,
    device: torch.device,
    *,
    heed: Callable[[], None] = nothing,
    out_of_time: Callable[[], bool] = lambda: False,
) -> list[list[int]]:
    """A seeded draw of source photos, in groups of similar ones: indices into `source`, group by group, each at most a batch.

    `heed` is asked before each photo; `out_of_time` too, and where that turns true those that were looked at are the draw, at least one.
    """
    rng = np.random.default_rng([config.seed, 0])
    chosen = [int(i) for i in np.sort(rng.permutation(len(source))[: config.source_photos])]
    rows: list[np.ndarray] = []
    for index in chosen:
        heed()
        if rows and out_of_time():
            chosen = chosen[: len(rows)]
            break
        x = network_input(shrink(source.load(index), config.describe_side)[None], config.describe_side, device)
        rows.append(describe(segmenter.base(x).deep)[0])
    groups, _ = group_photos(np.stack(rows), seed=config.seed, size=config.group_size)
    return [[chosen[i] for i in batch] for batch in group_batches(groups, size=config.group_size, rng=rng)]


def random_view(
    pixels: Float[Tensor, "3 h w"], labels: Int64[Tensor, "h w"], config: AlignmentConfig, rng: np.random.Generator
) -> tuple[Float[Tensor, "3 crop crop"], Int64[Tensor, "crop crop"]]:
    """Random scale, random crop of `config.crop`, flip (METHOD, 5). A scale smaller than the crop is the crop."""
    crop = snap(config.crop)
    side = max(crop, round(config.side * float(rng.uniform(*config.scales))))
    scaled = F.interpolate(pixels[None], (side, side), mode="bilinear", antialias=True)[0]
    mask = F.interpolate(labels[None, None].float(), (side, side), mode="nearest")[0, 0].long()
    top, left = (int(v) for v in rng.integers(0, side - crop + 1, 2))
    window = (slice(top, top + crop), slice(left, left + crop))
    return maybe_flip(scaled[:, window[0], window[1]], mask[window], rng)


class Aligner:
    """The segmenter, its two discriminators and their optimizers, over the steps."""

    def __init__(
        self,
        segmenter: Segmenter,
        classes: int,
        config: AlignmentConfig,
        planned: int,
        device: torch.device,
        portions: Portions | None = None,
    ) -> None:
        self.portions = portions or Portions.fitting(device, config.group_size)
        self.segmenter, self.config, self.planned, self.device = segmenter, config, planned, device
        torch.manual_seed(config.seed)
        self.discriminators = [Discriminator(classes).to(device) for _ in range(2)]  # with context, the base's own
        self.optimizer = torch.optim.SGD(segmenter.parameters(), config.learning_rate, config.momentum, weight_decay=config.weight_decay)
        rate = config.discriminator_rate
        self.judges = [torch.optim.Adam(judge.parameters(), lr=rate, betas=BETAS) for judge in self.discriminators]

    def step(
        self,
        number: int,
        source: tuple[Float[Tensor, "images 3 crop crop"], Int64[Tensor, "images crop crop"]],
        target: Float[Tensor, "others 3 crop crop"],
    ) -> tuple[float, float, float]:
        """One step; photos are RGB in [0, 255]. Returns supervised, adversarial and discriminators' loss."""
        self._decay(number)
        photos, labels = normalize(source[0]).to(self.device), source[1]
        others = normalize(target).to(self.device)
        supervised, adversarial, maps = self.portions.attempt(lambda at_once: self._gradients(photos, labels, others, at_once))
        nn.utils.clip_grad_norm_(self.segmenter.parameters(), self.config.gradient_norm)
        self.optimizer.step()
        told = [
            discriminator_step(judge, optimizer, here, there)
            for judge, optimizer, (here, there) in zip(self.discriminators, self.judges, maps, strict=True)
        ]
        return supervised, adversarial, sum(told) / len(told)

    def _gradients(
        self,
        photos: Float[Tensor, "images 3 crop crop"],
        labels: Int64[Tensor, "images crop crop"],
        others: Float[Tensor, "others 3 crop crop"],
        at_once: int,
    ) -> tuple[float, float, list[tuple[Tensor, Tensor]]]:
        """Both losses, their gradients left in the segmenter's parameters; and for each discriminator what it is to tell apart."""
        self.optimizer.zero_grad(set_to_none=True)
        features = features_in_pieces(self.segmenter.base, photos, at_once, self.portions.heed)
        logits = self.segmenter.with_context(features)
        small = F.interpolate(labels[:, None].float(), logits.shape[2:], mode="nearest")[:, 0].long().to(self.device)
        own_loss = masked_cross_entropy(features.logits, small)
        supervised = masked_cross_entropy(logits, small) + self.config.auxiliary_weight * own_loss
        supervised.backward()  # type: ignore[no-untyped-call]
        known = [weighted_self_information(given.detach()) for given in (logits, features.logits)]
        del logits, features

        unseen = features_in_pieces(self.segmenter.base, others, at_once, self.portions.heed)
        maps = [weighted_self_information(given) for given in (self.segmenter.with_context(unseen), unseen.logits)]
        weights = (self.config.adversarial_weight, self.config.auxiliary_adversarial_weight)
        fooled = [fooling_loss(judge, given) for judge, given in zip(self.discriminators, maps, strict=True)]
        adversarial = weights[0] * fooled[0] + weights[1] * fooled[1]
        adversarial.backward()  # type: ignore[no-untyped-call]
        told_apart = [(here, there.detach()) for here, there in zip(known, maps, strict=True)]
        return float(supervised.detach()), float(adversarial.detach()), told_apart

    def _parts(self) -> dict[str, tuple[nn.Module, torch.optim.Optimizer]]:
        judges = {f"judge{index}": pair for index, pair in enumerate(zip(self.discriminators, self.judges, strict=True))}
        return {"segmenter": (self.segmenter, self.optimizer), **judges}

    def to_tensors(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        tensors: dict[str, Tensor] = {}
        for name, (module, optimizer) in self._parts().items():
            tensors |= parameters_of(module, f"{name}.weights") | moments_of(optimizer, f"{name}.moments")
        return tensors

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Goes on from a checkpoint."""
        for name, (module, optimizer) in self._parts().items():
            restore_parameters(module, tensors, f"{name}.weights")
            restore_moments(optimizer, tensors, f"{name}.moments")

    def _decay(self, number: int) -> None:
        left = (1 - number / self.planned) ** self.config.power
        self.optimizer.param_groups[0]["lr"] = self.config.learning_rate * left
        for optimizer in self.judges:
            optimizer.param_groups[0]["lr"] = self.config.discriminator_rate * left


def align(
    segmenter: Segmenter,
    source: LabelledFolder,
    pixels: UInt8[Tensor, "photos 3 h w"],
    groups: Int64[np.ndarray, " photos"],
    config: AlignmentConfig,
    *,
    device: torch.device,
    out_of_time: Callable[[], bool] = lambda: False,
    on_step: Callable[[int, int], None] = lambda step, steps: None,
    journal: Journal | None = None,
    portions: Portions | None = None,
) -> AlignmentLog:
    """Changes `segmenter` in place, from a user's photos (`pixels`, any side, with their groups) and the source's.

    Asks `out_of_time` before every step and keeps what it has learned where that turns true. `on_step(step, steps)` hears of every step and
    may raise to cancel. Goes on from what `journal` has of an earlier run. Raises FileNotFoundError where a source photo has gone.
    """
    segmenter.eval()  # batch-norm statistics stay, no dropout
    begun = Section() if journal is None else journal.begun(STAGE)
    heed = nothing if portions is None else portions.heed
    if begun.facts:
        mates: list[list[int]] = begun.facts["mates"]
    else:
        mates = draw_source(segmenter, source, config, device, heed=heed, out_of_time=out_of_time)
    segmenter.requires_grad_(True)
    schedule = [
        batch
        for epoch in range(config.epochs)
        for batch in group_batches(groups, size=config.group_size, rng=np.random.default_rng([config.seed, 1, epoch]))
    ]
    aligner = Aligner(segmenter, segmenter.context.classes, config, max(1, len(schedule)), device, portions)
    losses: list[tuple[float, float, float]] = [(a, b, c) for a, b, c in begun.facts.get("losses", [])]
    if begun.facts:
        aligner.restore(begun.tensors)
    for number, batch in enumerate(schedule):
        if number < len(losses):
            continue
        if out_of_time():
            break
        rng = np.random.default_rng([config.seed, 2, number])
        known = _source_views(source, mates[number % len(mates)], config, rng)
        losses.append(aligner.step(number, known, _target_views(pixels, batch, config, rng)))
        if journal is not None:
            journal.note(STAGE, lambda: Section(aligner.to_tensors(), {"mates": mates, "losses": losses}))
        on_step(number + 1, len(schedule))
    segmenter.requires_grad_(False)
    means = np.mean(losses, axis=0) if losses else np.full(3, np.nan)
    return AlignmentLog(len(losses), len(schedule), *(float(value) for value in means))


def _source_views(
    source: LabelledFolder, batch: Sequence[int], config: AlignmentConfig, rng: np.random.Generator
) -> tuple[Float[Tensor, "images 3 crop crop"], Int64[Tensor, "images crop crop"]]:
    views = []
    for index in batch:
        photo = shrink(source.load(index), config.side).float()
        label = torch.from_numpy(source.label(index))[None, None]
        mask = F.interpolate(label, (config.side, config.side), mode="nearest")[0, 0].long()
        views.append(random_view(photo, mask, config, rng))
    return torch.stack([photo for photo, _ in views]), torch.stack([mask for _, mask in views])


def _target_views(
    pixels: UInt8[Tensor, "photos 3 h w"], batch: Sequence[int], config: AlignmentConfig, rng: np.random.Generator
) -> Float[Tensor, "images 3 crop crop"]:
    nothing = torch.full((pixels.shape[2], pixels.shape[3]), IGNORE)
    return torch.stack([random_view(pixels[index].float(), nothing, config, rng)[0] for index in batch])
