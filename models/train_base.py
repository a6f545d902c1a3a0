"""`python -m models.train_base`: trains a base network and the inter-image context module on a labelled folder, in two phases.

Both use group batches (METHOD, "Group batches"): 8 photos of one K-means group, so that the context learns to use a photo's group mates.

`--phase together`: base and context at once on random crops. The loss is cross-entropy on the logits with context + 0.4 × cross-entropy
on the base's own (METHOD, step 1) + the divergence of the base's own from those of the weights it started at, so that the base forgets
nothing. Batch-norm statistics of the base stay as they were published.

`--phase context`: a new context module on the frozen base, without labels: on whole photos seen through simulated cameras it learns what
the base says of the clean photo on average over scales and mirroring. (The base has learned these very photos, so a context trained on
their labels learns to trust it too much and does worse on new ones; docs/decisions/0002.)

`--base` takes those bases of the registry whose context is trained: of the others nobody could use the result. One that ships no weights
(`pspnet_resnet50`) is trained with `--phase together`, from torchvision's ImageNet weights of its backbone (`--imagenet`) or from nothing.
Then the parts that are new learn their batch-norm statistics, there is no teacher to keep to, and the auxiliary head learns with the same
weight. `--data` may be what PASCAL's archive unpacks to: then its list `train` is learned from (`--split`), and no photo of `val`.

A run is resumable: state is written every `--checkpoint-steps`, and starting again with the same `--out` goes on from there.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
import typer
from jaxtyping import Bool, Float, Int64
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from models.arguments import refused_arguments
from models.augment import jitter_color, maybe_flip, simulate_camera
from models.bases.espnetv2 import ESPNetv2
from models.bases.fetch import default_folder, ensure, read, read_state
from models.bases.info import with_new_context
from models.bases.network import BaseNetwork
from models.bases.pspnet import PSPNet, start_at_imagenet
from models.bases.registry import DEFAULT, channels_last, find_base, write_base_weights
from models.bases.weights import read_network_weights
from models.datasets import LabelledFolder, UnusableFile
from models.gallery import network_input, snap
from models.grouping import GROUP_SIZE, describe, group_batches, group_photos
from models.labels import VOC_CLASSES
from models.losses import divergence, masked_cross_entropy
from models.preprocess import normalize, shrink
from models.segmenter import Segmenter, freeze_batch_norm

STATE = "state.pt"
"""A run's file of its state, in its folder."""
NEW_BASE_RATE = 2e-4  # ours, not tried in a whole training: AdamW on a base that has never been trained on labels
AUXILIARY_WEIGHT = 0.4  # METHOD, step 1
FORGET_NOTHING_WEIGHT = 1.0  # ours: divergence from the starting weights
ALONE_SHARE = 0.25  # ours: share of batches in which a photo sees only itself, so that a photo without mates is served too


TARGET_VIEWS = ((0.75, False), (1.0, False), (1.0, True), (1.25, False))  # ours: scale, mirrored


class Phase(StrEnum):
    """What is trained."""

    TOGETHER = "together"
    CONTEXT = "context"


@dataclass(frozen=True)
class Recipe:
    """Lengths in pixels, rates of AdamW."""

    epochs: int
    smallest: int
    largest: int
    base_rate: float
    context_rate: float
    weight_decay: float
    ema_decay: float
    """The result is the running mean of about the last 1 / (1 − decay) steps."""
    crop: int | None = None
    seed: int = 0


RECIPES = {
    Phase.TOGETHER: Recipe(3, 320, 512, base_rate=2e-5, context_rate=1e-3, weight_decay=1e-4, ema_decay=0.998, crop=320),
    Phase.CONTEXT: Recipe(1, 320, 416, base_rate=0.0, context_rate=1e-3, weight_decay=1e-2, ema_decay=0.995),
}


def build(weights: Path | None, width: float, classes: int = len(VOC_CLASSES), *, base: str = DEFAULT) -> Segmenter:
    """A segmenter with a new context, and a base that holds its publisher's weights (.pth), ours (.safetensors) or random ones.

    `width` is ESPNetv2's. Raises KeyError for an unknown base, ValueError (ModelFileError) where the weights do not fit, OSError.
    """
    network: BaseNetwork = ESPNetv2(width, classes) if base == DEFAULT else find_base(base).network()
    segmenter = with_new_context(network, classes)
    if weights is not None and weights.suffix == ".safetensors":
        read_network_weights(segmenter.base, weights.read_bytes())
    elif weights is not None:
        try:
            segmenter.base.load_published(read_state(weights))
        except (RuntimeError, TypeError, AttributeError) as error:
            raise ValueError(f"{weights} does not fit {base}: {error}") from error
    if weights is not None:
        segmenter.base.settle()
    return segmenter


def initialise(segmenter: Segmenter, *, base: str, imagenet: bool, weights_dir: Path, mirror: str | None, goes_on: bool = False) -> None:
    """Where no weights file is given: the base's own weights, or ImageNet's for a new backbone; a run that `goes_on` has those already.

    Raises BaseNotAvailable; ModelFileError where they are of another width.
    """
    info = find_base(base)
    if not info.must_be_trained:
        ensure(info, weights_dir, mirror=mirror)
        read_network_weights(segmenter.base, read(info, weights_dir)[0])
        segmenter.base.settle()
    elif imagenet and isinstance(segmenter.base, PSPNet):
        if goes_on:
            segmenter.base.new_parts.remove("backbone")
        else:
            start_at_imagenet(segmenter.base, weights_dir, mirror=mirror)


def visible_mates(batch: int, classes: int, rng: np.random.Generator) -> Bool[Tensor, "images proxies"]:
    """A random part of the batch is remembered for all, each photo sees itself: the context learns to do with few mates or none."""
    kept = 0 if rng.random() < ALONE_SHARE else int(rng.integers(1, batch + 1))
    remembered = torch.zeros(batch, dtype=torch.bool)
    remembered[rng.permutation(batch)[:kept]] = True
    seen = remembered[None, :] | torch.eye(batch, dtype=torch.bool)  # (B, B)
    return seen.repeat_interleave(classes, dim=1)


class Together:
    """Phase "together": random crops, labels, and the starting base as a teacher where it has learned anything yet."""

    def __init__(self, segmenter: Segmenter, folder: LabelledFolder, recipe: Recipe, device: torch.device) -> None:
        self.folder, self.recipe, self.device = folder, recipe, device
        self.teacher = None if segmenter.base.learns_statistics() else copy.deepcopy(segmenter.base).eval().requires_grad_(False)

    def view(self, index: int, rng: np.random.Generator) -> tuple[Float[Tensor, "3 crop crop"], Int64[Tensor, "crop crop"]]:
        """Squash to a random side, random crop, flip, mild jitter; values in [0, 255]."""
        side = int(rng.integers(self.recipe.smallest, self.recipe.largest + 1))
        crop = self.recipe.crop or side
        pixels = shrink(self.folder.load(index), side).float()
        label = torch.from_numpy(self.folder.label(index))
        mask = F.interpolate(label[None, None], (side, side), mode="nearest")[0, 0].long()
        top, left = (int(v) for v in rng.integers(0, side - crop + 1, 2))
        window = (slice(top, top + crop), slice(left, left + crop))
        pixels, mask = maybe_flip(pixels[:, window[0], window[1]], mask[window], rng)
        return jitter_color(pixels, rng), mask

    def loss(self, segmenter: Segmenter, batch: Sequence[int], rng: np.random.Generator) -> Tensor:
        """One step's loss; labels are read at the stride of the logits."""
        views = [self.view(index, rng) for index in batch]
        x = normalize(torch.stack([pixels for pixels, _ in views]).to(self.device))
        label = torch.stack([mask for _, mask in views]).to(self.device)
        visible = visible_mates(len(batch), segmenter.context.classes, rng).to(self.device)
        features, auxiliary = segmenter.base.with_auxiliary(x)
        own, logits = features.logits, segmenter.with_context(features, visible=visible)
        target = F.interpolate(label[:, None].float(), own.shape[2:], mode="nearest")[:, 0].long()
        loss = masked_cross_entropy(logits, target) + AUXILIARY_WEIGHT * masked_cross_entropy(own, target)
        if auxiliary is not None:
            loss = loss + AUXILIARY_WEIGHT * masked_cross_entropy(auxiliary, target)
        if self.teacher is None:
            return loss
        with torch.no_grad():
            before = self.teacher(x).logits.softmax(1)
        return loss + FORGET_NOTHING_WEIGHT * divergence(own, before)


class AveragedTargets:
    """What the frozen base says of each clean photo, averaged over TARGET_VIEWS; made when first asked for and kept on disk."""

    def __init__(self, network: nn.Module, folder: LabelledFolder, side: int, classes: int, out: Path, device: torch.device) -> None:
        self.network, self.folder, self.side, self.device = network, folder, side, device
        shape = (len(folder), classes, side // 4, side // 4)
        mode: Literal["r+", "w+"] = "r+" if (out / "targets.npy").exists() else "w+"
        self._values = np.lib.format.open_memmap(out / "targets.npy", mode=mode, dtype=np.float16, shape=None if mode == "r+" else shape)
        self._known = np.lib.format.open_memmap(
            out / "targets-known.npy", mode=mode, dtype=np.bool_, shape=None if mode == "r+" else (len(folder),)
        )
        if self._values.shape != shape:
            raise ValueError(f"{out} holds the targets of another run: {self._values.shape}, not {shape}")

    def of(self, index: int) -> Float[Tensor, "classes h4 w4"]:
        """Class probabilities at a quarter of `side`."""
        if not self._known[index]:
            self._values[index] = self._make(index).cpu().numpy()
            self._known[index] = True
        return torch.from_numpy(self._values[index].astype(np.float32))

    @torch.no_grad()
    def _make(self, index: int) -> Tensor:
        photo = self.folder.load(index)
        total = torch.zeros(1, device=self.device)
        for scale, mirrored in TARGET_VIEWS:
            side = snap(self.side * scale)
            x = network_input(shrink(photo, side)[None], side, self.device)
            logits = self.network(x.flip(3) if mirrored else x).logits
            logits = logits.flip(3) if mirrored else logits
            size = (self.side // 4, self.side // 4)
            total = total + F.interpolate(logits, size, mode="bilinear", align_corners=False).softmax(1)
        return (total / len(TARGET_VIEWS))[0]


class ContextOnly:
    """Phase "context": whole photos through simulated cameras, averaged predictions as targets; no label is read."""

    def __init__(self, folder: LabelledFolder, recipe: Recipe, targets: AveragedTargets, device: torch.device) -> None:
        self.folder, self.recipe, self.targets, self.device = folder, recipe, targets, device

    def view(self, index: int, side: int, rng: np.random.Generator) -> tuple[Float[Tensor, "3 side side"], Float[Tensor, "classes h4 w4"]]:
        """The photo through a camera and its averaged prediction, mirrored together every second time."""
        pixels, target = shrink(self.folder.load(index), side).float(), self.targets.of(index)
        if rng.random() < 0.5:
            pixels, target = pixels.flip(2), target.flip(2)
        return simulate_camera(jitter_color(pixels, rng), rng), target

    def loss(self, segmenter: Segmenter, batch: Sequence[int], rng: np.random.Generator) -> Tensor:
        """One step's loss."""
        side = snap(int(rng.integers(self.recipe.smallest, self.recipe.largest + 1)))
        views = [self.view(index, side, rng) for index in batch]
        x, target = (torch.stack(part).to(self.device) for part in zip(*views, strict=True))
        with torch.no_grad():
            features = segmenter.base(normalize(x))
        visible = visible_mates(len(batch), segmenter.context.classes, rng).to(self.device)
        logits = segmenter.with_context(features, visible=visible, damped=False)
        return divergence(F.interpolate(logits, target.shape[2:], mode="bilinear", align_corners=False), target)


def group_folder(network: nn.Module, folder: LabelledFolder, device: torch.device, seed: int) -> Int64[np.ndarray, " photos"]:
    """Groups of the training photos, from the network's own description of them."""
    rows = []
    with torch.inference_mode():
        for index in range(len(folder)):
            rows.append(describe(network(normalize(shrink(folder.load(index), 224)[None]).to(device)).deep)[0])
    return group_photos(np.stack(rows), seed=seed)[0]


class Trainer:
    """Holds all that a checkpoint holds: the network, its running mean, the optimiser, the step."""

    def __init__(
        self, segmenter: Segmenter, phase: Phase, recipe: Recipe, folder: LabelledFolder, out: Path, device: torch.device, side: int = 384
    ) -> None:
        self.recipe, self.folder, self.out, self.device = recipe, folder, out, device
        self.segmenter = channels_last(segmenter.to(device))
        self.mean = copy.deepcopy(segmenter).eval().requires_grad_(False)
        self.task: Together | ContextOnly
        if phase is Phase.TOGETHER:
            self.task = Together(segmenter, folder, recipe, device)
        else:
            segmenter.base.requires_grad_(False)
            targets = AveragedTargets(self.mean.base, folder, side, segmenter.context.classes, out, device)
            self.task = ContextOnly(folder, recipe, targets, device)
        groups = [
            {"params": list(segmenter.base.parameters()), "lr": recipe.base_rate, "peak": recipe.base_rate},
            {"params": list(segmenter.context.parameters()), "lr": recipe.context_rate, "peak": recipe.context_rate},
        ]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)
        self.scaler = torch.amp.GradScaler(enabled=device.type == "cuda")
        self.step = 0
        self.groups: Int64[np.ndarray, " photos"] | None = None

    @property
    def checkpoint(self) -> Path:
        """Where the state is written."""
        return self.out / STATE

    def save(self) -> None:
        """Writes the state, atomically."""
        state: dict[str, Any] = {
            "step": self.step, "groups": torch.from_numpy(self.groups) if self.groups is not None else None,
            "segmenter": self.segmenter.state_dict(), "mean": self.mean.state_dict(),
            "optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict(),
        }  # fmt: skip
        partial = self.checkpoint.with_suffix(".part")
        torch.save(state, partial)
        partial.replace(self.checkpoint)

    def load(self) -> None:
        """Takes up the state where there is one."""
        if not self.checkpoint.exists():
            return
        state = read_state(self.checkpoint, self.device)
        self.step, self.groups = int(state["step"]), state["groups"].cpu().numpy()
        self.segmenter.load_state_dict(state["segmenter"], strict=True)
        self.mean.load_state_dict(state["mean"], strict=True)
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])

    def epoch_batches(self, epoch: int) -> list[list[int]]:
        """The epoch's group batches; the same for the same seed."""
        assert self.groups is not None
        return group_batches(self.groups, size=GROUP_SIZE, rng=np.random.default_rng([self.recipe.seed, epoch]))

    def train(self, checkpoint_steps: int) -> None:
        """Goes on from the current step to the end of the schedule."""
        if self.groups is None:
            self.groups = group_folder(self.mean.base, self.folder, self.device, self.recipe.seed)
        schedule = [batch for epoch in range(self.recipe.epochs) for batch in self.epoch_batches(epoch) if len(batch) > 1]
        columns = (
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("loss {task.fields[loss]:.3f}"),
        )
        with Progress(*columns) as bar:
            task = bar.add_task("train", total=len(schedule), completed=self.step, loss=math.nan)
            while self.step < len(schedule):
                loss = self._one_step(schedule[self.step], self.step / len(schedule))
                self.step += 1
                bar.update(task, completed=self.step, loss=loss)
                if self.step % checkpoint_steps == 0 or self.step == len(schedule):
                    self.save()
                    print(f"step {self.step}/{len(schedule)} loss {loss:.3f}", flush=True)

    def _one_step(self, batch: list[int], done: float) -> float:
        rng = np.random.default_rng([self.recipe.seed, 1, self.step])
        torch.manual_seed(self.recipe.seed * 1_000_003 + self.step)
        for group in self.optimizer.param_groups:  # warm-up over the first 3 %, then a cosine down to nothing
            group["lr"] = group["peak"] * min(1.0, done / 0.03 + 0.01) * 0.5 * (1 + math.cos(math.pi * done))
        self.segmenter.train()
        freeze_batch_norm(self.segmenter.base)
        if isinstance(self.task, ContextOnly):
            self.segmenter.base.eval()  # its dropout, too
        for part in self.segmenter.base.learns_statistics():
            part.train()
        with torch.autocast(self.device.type, dtype=torch.float16, enabled=self.device.type == "cuda"):
            loss = self.task.loss(self.segmenter, batch, rng)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.segmenter.parameters(), 5.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self._average()
        return float(loss.detach())

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.recipe.ema_decay, (1 + self.step) / (10 + self.step))
        for mean, now in zip(self.mean.state_dict().values(), self.segmenter.state_dict().values(), strict=True):
            if mean.dtype.is_floating_point:
                mean.lerp_(now, 1 - decay)
            else:
                mean.copy_(now)


def main(
    data: Annotated[Path, typer.Option(help="Labelled folder: images/ + masks/, or JPEGImages/ + SegmentationClass/.")],
    out: Annotated[Path, typer.Option(help="Run folder: state.pt (resumable) and, at the end, BASE.safetensors.")],
    base: Annotated[str, typer.Option(help="What to train: a base of the registry.")] = DEFAULT,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Weights to start at: the publisher's (.pth), or ours (.safetensors). Without: the base's own, where it has any."
        ),
    ] = None,
    phase: Annotated[Phase, typer.Option(help="Base and context together, or a new context on a frozen base.")] = Phase.TOGETHER,
    imagenet: Annotated[bool, typer.Option(help="Start pspnet_resnet50's backbone at torchvision's ImageNet weights (fetched).")] = False,
    weights_dir: Annotated[Path | None, typer.Option(help="Folder of fetched weights; the user's cache folder without.")] = None,
    mirror: Annotated[str | None, typer.Option(help="URL of a folder to fetch weights from.")] = None,
    split: Annotated[str, typer.Option(help="PASCAL's list to learn from, where it has lists; else all photos.")] = "train",
    ids: Annotated[Path | None, typer.Option(help="File with the ids to use, one a line, in the place of a list of PASCAL's.")] = None,
    width: Annotated[float, typer.Option(help="ESPNetv2's scale s.")] = 2.0,
    epochs: Annotated[int | None, typer.Option(help="Passes over the photos; the phase's own without.")] = None,
    base_rate: Annotated[float | None, typer.Option(help="AdamW rate of the base network (phase together).")] = None,
    context_rate: Annotated[float | None, typer.Option(help="AdamW rate of the context module.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of grouping, order and augmentation.")] = 0,
    checkpoint_steps: Annotated[int, typer.Option(help="Steps between checkpoints.")] = 50,
    limit: Annotated[int | None, typer.Option(help="Use only the first N photos (for a trial).")] = None,
) -> None:
    """Train a base and its context module together; resumable, with a progress bar."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with refused_arguments():
        if find_base(base).context != "trained":
            raise ValueError(f"{base} is used with a context that has no weights, so that nobody could use the result")
        folder = LabelledFolder.open_list(data, split) if ids is None else LabelledFolder.open(data, ids.read_text().split())
        torch.manual_seed(seed)
        segmenter = build(weights, width, base=base)
        if weights is None:
            goes_on = (out / STATE).exists()
            initialise(segmenter, base=base, imagenet=imagenet, weights_dir=weights_dir or default_folder(), mirror=mirror, goes_on=goes_on)
        if phase is Phase.CONTEXT and segmenter.base.learns_statistics():
            raise ValueError(f"phase context leaves {base} as it is, and it has learned nothing yet: name trained weights with --weights")
    folder = folder.of_classes(len(VOC_CLASSES))
    if limit is not None:
        folder = folder.subset(folder.ids[:limit])
    out.mkdir(parents=True, exist_ok=True)
    if base_rate is None and segmenter.base.learns_statistics():
        base_rate = NEW_BASE_RATE
    given: dict[str, Any] = {
        "epochs": epochs,
        "base_rate": base_rate if phase is Phase.TOGETHER else None,
        "context_rate": context_rate,
        "seed": seed,
    }
    recipe = replace(RECIPES[phase], **{name: value for name, value in given.items() if value is not None})
    trainer = Trainer(segmenter, phase, recipe, folder, out, device)
    with refused_arguments():
        trainer.load()
    try:
        trainer.train(checkpoint_steps)
    except UnusableFile as error:  # met when its turn comes
        raise typer.BadParameter(str(error)) from error
    size = write_base_weights(trainer.mean, out / f"{base}.safetensors")
    print(f"wrote {out / base}.safetensors ({size / 1e6:.2f} MB)")


if __name__ == "__main__":
    typer.run(main)
