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

from models.appearance import Appearance
from models.augment import disturb, jitter_color, maybe_flip, mix_pieces
from models.checkpoint_file import Section
from models.config import PersonalizeConfig
from models.gallery import resize_batch
from models.grouping import group_batches
from models.losses import masked_cross_entropy, unlabelled_divergence
from models.memory import Portions, features_in_pieces
from models.preprocess import normalize
from models.resume import Journal, moments_of, parameters_of, restore_moments, restore_parameters
from models.segmenter import Segmenter

STAGE = "training"


@dataclass(frozen=True)
class TrainingSet:
    """What is learned from: small copies of the photos, their pseudo labels and groups."""

    pixels: UInt8[Tensor, "photos 3 h w"]
    labels: UInt8[Tensor, "photos h2 w2"]
    groups: Int64[np.ndarray, " photos"]
    side: int
    positions: Sequence[int] | None = None
    """Those of the photos that are learned from; None: all."""
    appearance: Appearance | None = None
    """How `pixels` are shown; None: as they are."""

    def batches(self, size: int, rng: np.random.Generator) -> list[list[int]]:
        """The photos learned from in random order, a group's together, in batches of at most `size`."""
        positions = np.arange(len(self.pixels)) if self.positions is None else np.asarray(self.positions)
        return [positions[batch].tolist() for batch in group_batches(self.groups[positions], size=size, rng=rng)]

    def photos(self, batch: Sequence[int]) -> UInt8[Tensor, "images 3 side side"]:
        """Some of the photos as they are learned from."""
        taken = self.pixels[list(batch)]
        return resize_batch(taken if self.appearance is None else self.appearance.show(taken), self.side)


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
    journal: Journal | None = None,
    portions: Portions | None = None,
) -> TrainingLog:
    """Changes `segmenter` in place. Stops early, keeping what it has learned, where `out_of_time` turns true.

    `config.runs` times from the same start, in another order and with other views each; what comes out is the mean of their weights.
    Goes on from what `journal` has of an earlier run: every step's randomness is its own, so the result is the same.
    """
    learner = Learner(segmenter, config, device, portions or Portions.fitting(device, config.group_size, config.photos_at_once))
    schedule = [
        (epoch, batch)
        for epoch in range(config.runs * config.epochs)
        for batch in data.batches(config.group_size, np.random.default_rng([config.seed, epoch]))
    ]
    if journal is not None and (begun := journal.begun(STAGE)).facts:
        learner.restore(begun)
    while learner.done < len(schedule) and not out_of_time():
        epoch, batch = schedule[learner.done]
        if epoch // config.epochs > learner.run:
            learner.begin_again()
        rng = np.random.default_rng([config.seed, epoch, learner.done])
        learner.step(epoch, *_augmented(data, batch, rng, strong=config.strong_views))
        if journal is not None:
            journal.note(STAGE, learner.to_section)
        on_step(learner.done, len(schedule))
    learner.finish()
    return TrainingLog(learner.done, len(schedule), tuple(float(np.mean(of_epoch)) for of_epoch in learner.losses))


class Learner:
    """The segmenter that learns, and all that a step changes or needs beside the photos."""

    def __init__(self, segmenter: Segmenter, config: PersonalizeConfig, device: torch.device, portions: Portions) -> None:
        self.anchor = copy.deepcopy(segmenter).eval() if config.anchor_weight else None
        self.mean = RunningMean(segmenter, config.teacher_decay) if config.teacher_decay else None
        self.segmenter, self.config, self.device, self.portions = segmenter, config, device, portions
        segmenter.eval().requires_grad_(True)  # eval: batch-norm statistics stay, no dropout
        self.start = [parameter.detach().clone() for parameter in segmenter.parameters()]
        self.optimizer = self._optimizer()
        self.run, self.soup = 0, Soup()
        self.done = 0
        """Steps, of all runs."""
        self.losses: list[list[float]] = []
        """Of each epoch begun, step by step."""

    def _optimizer(self) -> torch.optim.AdamW:
        learning = self.segmenter if self.segmenter.use_context else self.segmenter.base
        # Weight decay is torch's default, 0.01: over fifty steps of 5e-5 it takes 2.5e-5 of a weight.
        return torch.optim.AdamW(learning.parameters(), lr=self.config.learning_rate)

    def begin_again(self) -> None:
        """The next run: from the start, with nothing of the last one but its weights in the soup."""
        self._end_run()
        put_back(self.segmenter, self.start)
        self.optimizer, self.run = self._optimizer(), self.run + 1
        if self.mean is not None:
            self.mean = RunningMean(self.segmenter, self.config.teacher_decay)

    def _end_run(self) -> None:
        if self.mean is not None:
            self.mean.copy_to(self.segmenter)
        self.soup.add(self.segmenter, self.done - self.soup.steps)

    def step(self, epoch: int, pixels: Float[Tensor, "images 3 side side"], labels: Int64[Tensor, "images h2 w2"]) -> None:
        """Learns from one batch."""
        x, target = normalize(pixels).to(self.device), labels.to(self.device)
        loss = self.portions.attempt(lambda at_once: self._gradients(x, target, at_once))
        nn.utils.clip_grad_norm_(self.segmenter.parameters(), self.config.gradient_norm)
        self.optimizer.step()
        if self.mean is not None:
            self.mean.add(self.segmenter)
        if epoch == len(self.losses):
            self.losses.append([])
        self.losses[epoch].append(loss)
        self.done += 1

    def _gradients(self, x: Float[Tensor, "images 3 side side"], target: Int64[Tensor, "images h2 w2"], at_once: int) -> float:
        """The loss; its gradients are left in the parameters, and nowhere else."""
        self.optimizer.zero_grad(set_to_none=True)
        features = features_in_pieces(self.segmenter.base, x, at_once, self.portions.heed)
        logits = self.segmenter.with_context(features)
        loss = _loss_at(logits, target)
        if self.segmenter.use_context:
            loss = loss + self.config.auxiliary_weight * _loss_at(features.logits, target)
        if self.anchor is not None:
            with torch.no_grad():
                reference = self.anchor.with_context(features_in_pieces(self.anchor.base, x, at_once, self.portions.heed)).softmax(1)
            loss = loss + self.config.anchor_weight * unlabelled_divergence(logits, reference, target)
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    def finish(self) -> None:
        """Ends the learning; the mean of the runs becomes the weights (of each run its running mean, where there is one)."""
        self.optimizer.zero_grad(set_to_none=True)
        self.segmenter.requires_grad_(False)
        self._end_run()
        self.soup.copy_to(self.segmenter)

    def to_section(self) -> Section:
        """For a checkpoint."""
        means = {} if self.mean is None else numbered("mean", self.mean.weights)
        tensors = parameters_of(self.segmenter) | moments_of(self.optimizer) | means | numbered("soup", self.soup.sums)
        facts = {"done": self.done, "losses": self.losses, "at_once": self.portions.size, "run": self.run, "soup_steps": self.soup.steps}
        return Section(tensors, facts)

    def restore(self, section: Section) -> None:
        """Goes on from a checkpoint."""
        restore_parameters(self.segmenter, section.tensors)
        restore_moments(self.optimizer, section.tensors)
        for index, value in enumerate([] if self.mean is None else self.mean.weights):
            value.copy_(section.tensors[f"mean.{index}"])
        self.soup.steps = section.facts["soup_steps"]
        if self.soup.steps:
            self.soup.sums = [section.tensors[f"soup.{i}"].to(weight.device, copy=True) for i, weight in enumerate(self.start)]
        self.done, self.run = section.facts["done"], section.facts["run"]
        self.losses = [list(of_epoch) for of_epoch in section.facts["losses"]]
        self.portions.size = min(self.portions.size, section.facts["at_once"])


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
        put_back(module, self.weights)


class Soup:
    """The mean of the weights of several trainings from one start, each as heavy as it has steps (model soups, arXiv 2203.05482)."""

    def __init__(self) -> None:
        self.steps = 0
        self.sums: list[Tensor] = []
        """Weights times steps, added up."""

    @torch.no_grad()
    def add(self, module: nn.Module, steps: int) -> None:
        """One training's weights."""
        scaled = [parameter * steps for parameter in module.parameters()]
        self.sums = [total + more for total, more in zip(self.sums, scaled, strict=True)] if self.sums else scaled
        self.steps += steps

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """The mean becomes the module's weights, where there is one."""
        if self.steps:
            put_back(module, [total / self.steps for total in self.sums])


@torch.no_grad()
def put_back(module: nn.Module, weights: Sequence[Tensor]) -> None:
    """`weights`, in the order of the module's parameters, become its own."""
    for parameter, value in zip(module.parameters(), weights, strict=True):
        parameter.copy_(value)


def numbered(prefix: str, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
    """Copies under `prefix.0`, `prefix.1` …"""
    return {f"{prefix}.{index}": value.clone() for index, value in enumerate(tensors)}


@torch.no_grad()
def step_back(module: nn.Module, start: nn.Module, share: float) -> None:
    """Leaves `module` at `share` of the way from `start`: between the two, networks are steadier than at either end (WiSE-FT)."""
    for parameter, before in zip(module.parameters(), start.parameters(), strict=True):
        parameter.copy_(torch.lerp(before, parameter, share))


def is_finite(module: nn.Module) -> bool:
    """Whether every weight is a number."""
    return all(bool(torch.isfinite(parameter).all()) for parameter in module.parameters())


def _loss_at(logits: Float[Tensor, "images classes h w"], labels: Int64[Tensor, "images h2 w2"]) -> Tensor:
    """The loss at the labels' own size."""
    if logits.shape[2:] == labels.shape[1:]:
        return masked_cross_entropy(logits, labels)
    return masked_cross_entropy(F.interpolate(logits, labels.shape[1:], mode="bilinear", align_corners=False), labels)


def _augmented(
    data: TrainingSet, batch: Sequence[int], rng: np.random.Generator, *, strong: bool
) -> tuple[Float[Tensor, "images 3 side side"], Int64[Tensor, "images h2 w2"]]:
    pixels = data.photos(batch).float()
    pairs = []
    for photo, index in zip(pixels, batch, strict=True):
        view = jitter_color(photo, rng)
        pairs.append(maybe_flip(disturb(view, rng) if strong else view, data.labels[index].long(), rng))
    x, labels = torch.stack([photo for photo, _ in pairs]), torch.stack([labels for _, labels in pairs])
    return mix_pieces(x, labels, rng) if strong else (x, labels)
