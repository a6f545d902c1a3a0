"""Self-training on pseudo labels (METHOD, step 2): from the base, gently, batch-norm statistics frozen."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from models.augment import disturb, jitter_color, maybe_flip, mix_pieces
from models.config import PersonalizeConfig
from models.gallery import resize_batch
from models.grouping import group_batches
from models.losses import masked_cross_entropy, unlabelled_divergence
from models.preprocess import normalize
from models.segmenter import Segmenter


@dataclass(frozen=True)
class TrainingSet:
    """What is learned from: small copies of the photos, their pseudo labels and groups."""

    pixels: UInt8[Tensor, "photos 3 h w"]
    labels: Int64[Tensor, "photos h2 w2"]
    groups: Int64[np.ndarray, " photos"]
    side: int


@dataclass(frozen=True)
class TrainingLog:
    """How it went. `losses` is the mean loss of each epoch begun, in nats."""

    steps: int
    planned_steps: int
    losses: tuple[float, ...]


def self_train(
    segmenter: Segmenter,
    data: TrainingSet,
    config: PersonalizeConfig,
    *,
    device: torch.device,
    out_of_time: Callable[[], bool],
    on_step: Callable[[int, int], None],
) -> TrainingLog:
    """Changes `segmenter` in place. Stops early, keeping what it has learned, where `out_of_time` turns true."""
    anchor = copy.deepcopy(segmenter).eval() if config.anchor_weight else None
    mean = RunningMean(segmenter, config.teacher_decay) if config.teacher_decay else None
    segmenter.eval().requires_grad_(True)  # eval: batch-norm statistics stay, no dropout
    learning = segmenter if segmenter.use_context else segmenter.base
    optimizer = torch.optim.AdamW(learning.parameters(), lr=config.learning_rate)
    schedule = [
        (epoch, batch)
        for epoch in range(config.epochs)
        for batch in group_batches(data.groups, size=config.group_size, rng=np.random.default_rng([config.seed, epoch]))
    ]
    losses: list[list[float]] = []
    done = 0
    for done, (epoch, batch) in enumerate(schedule):
        if out_of_time():
            break
        if epoch == len(losses):
            losses.append([])
        rng = np.random.default_rng([config.seed, epoch, done])
        losses[epoch].append(_step(segmenter, anchor, optimizer, data, batch, config, rng, device))
        if mean is not None:
            mean.add(segmenter)
        on_step(done + 1, len(schedule))
    else:
        done = len(schedule)
    segmenter.requires_grad_(False)
    if mean is not None:
        mean.copy_to(segmenter)
    return TrainingLog(done, len(schedule), tuple(float(np.mean(epoch_losses)) for epoch_losses in losses))


class RunningMean:
    """The exponential running mean of a network's weights (mean teacher, arXiv 1703.01780, section 3)."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = [parameter.detach().clone() for parameter in module.parameters()]

    @torch.no_grad()
    def add(self, module: nn.Module) -> None:
        """mean ← decay · mean + (1 − decay) · weights."""
        for mean, parameter in zip(self.weights, module.parameters(), strict=True):
            mean.lerp_(parameter, 1 - self.decay)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """The mean becomes the module's weights."""
        for mean, parameter in zip(self.weights, module.parameters(), strict=True):
            parameter.copy_(mean)


@torch.no_grad()
def step_back(module: nn.Module, start: nn.Module, share: float) -> None:
    """Leaves `module` at `share` of the way from `start`: between the two, networks are steadier than at either end (WiSE-FT)."""
    for parameter, before in zip(module.parameters(), start.parameters(), strict=True):
        parameter.copy_(torch.lerp(before, parameter, share))


def is_finite(module: nn.Module) -> bool:
    """Whether every weight is a number."""
    return all(bool(torch.isfinite(parameter).all()) for parameter in module.parameters())


def _step(
    segmenter: Segmenter,
    anchor: Segmenter | None,
    optimizer: torch.optim.Optimizer,
    data: TrainingSet,
    batch: Sequence[int],
    config: PersonalizeConfig,
    rng: np.random.Generator,
    device: torch.device,
) -> float:
    pixels, labels = _augmented(data, batch, rng, strong=config.strong_views)
    x = normalize(pixels).to(device)
    output = segmenter(x)
    target = labels.to(device)
    loss = _loss_at(output.logits, target)
    if segmenter.use_context:
        loss = loss + config.auxiliary_weight * _loss_at(output.features.logits, target)
    if anchor is not None:
        with torch.no_grad():
            reference = anchor(x).logits.softmax(1)
        loss = loss + config.anchor_weight * unlabelled_divergence(output.logits, reference, target)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(segmenter.parameters(), config.gradient_norm)
    optimizer.step()
    return float(loss.detach())


def _loss_at(logits: Float[Tensor, "images classes h w"], labels: Int64[Tensor, "images h2 w2"]) -> Tensor:
    """The loss at the labels' own size."""
    return masked_cross_entropy(F.interpolate(logits, labels.shape[1:], mode="bilinear", align_corners=False), labels)


def _augmented(
    data: TrainingSet, batch: Sequence[int], rng: np.random.Generator, *, strong: bool
) -> tuple[Float[Tensor, "images 3 side side"], Int64[Tensor, "images h2 w2"]]:
    pixels = resize_batch(data.pixels[list(batch)], data.side).float()
    pairs = []
    for photo, index in zip(pixels, batch, strict=True):
        view = jitter_color(photo, rng)
        pairs.append(maybe_flip(disturb(view, rng) if strong else view, data.labels[index], rng))
    x, labels = torch.stack([photo for photo, _ in pairs]), torch.stack([labels for _, labels in pairs])
    return mix_pieces(x, labels, rng) if strong else (x, labels)
