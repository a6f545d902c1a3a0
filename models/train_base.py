"""`python -m models.train_base`: trains a base network and the inter-image context module together on a labelled folder.

Group batches (METHOD, "Group batches"): 8 photos of one K-means group, so that the context learns to use a photo's group mates. The loss is
cross-entropy on the logits with context + 0.4 × cross-entropy on the base's own (METHOD, step 1) + the divergence of the base's own from
those of the weights it started at, so that the base forgets nothing. Batch-norm statistics of the base stay as they were published.
The run is resumable: state is written every `--checkpoint-steps`, and starting again with the same `--out` goes on from there.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
import typer
from jaxtyping import Bool, Float, Int64, UInt8
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from models.augment import jitter_color, maybe_flip, simulate_camera
from models.bases.espnetv2 import from_edgenets
from models.bases.registry import build_espnetv2, channels_last, read_base_weights, write_base_weights
from models.datasets import LabelledFolder
from models.grouping import GROUP_SIZE, describe, group_batches, group_photos
from models.labels import VOC_CLASSES
from models.losses import divergence, masked_cross_entropy
from models.preprocess import normalize, shrink
from models.segmenter import Segmenter, freeze_batch_norm

AUXILIARY_WEIGHT = 0.4  # METHOD, step 1
FORGET_NOTHING_WEIGHT = 1.0  # ours: divergence from the starting weights
EMA_DECAY = 0.998  # ours: the result is the running mean of the last ~500 steps
ALONE_SHARE = 0.25  # ours: share of batches in which a photo sees only itself, so that a photo without mates is served too


@dataclass(frozen=True)
class Recipe:
    """Lengths in pixels, rates of AdamW."""

    epochs: int = 5
    crop: int = 320
    smallest: int = 320
    largest: int = 512
    base_rate: float = 2e-5
    context_rate: float = 1e-3
    weight_decay: float = 1e-4
    cameras: bool = False
    """Show photos through other cameras, so that the context also learns where the base errs."""
    seed: int = 0


def build(weights: Path | None, width: float, classes: int = len(VOC_CLASSES)) -> Segmenter:
    """A segmenter whose base holds the published ESPNetv2 weights (or, without, random ones) and whose context is new.

    A `.safetensors` of ours fills both.
    """
    segmenter = build_espnetv2(width, classes)
    if weights is not None and weights.suffix == ".safetensors":
        read_base_weights(segmenter, weights.read_bytes())
    elif weights is not None:
        published = torch.load(weights, map_location="cpu", weights_only=True)
        segmenter.base.load_state_dict(from_edgenets(published), strict=True)
    return segmenter


def visible_mates(batch: int, classes: int, rng: np.random.Generator) -> Bool[Tensor, "images proxies"]:
    """A random part of the batch is remembered for all, each photo sees itself: the context learns to do with few mates or none."""
    kept = 0 if rng.random() < ALONE_SHARE else int(rng.integers(1, batch + 1))
    remembered = torch.zeros(batch, dtype=torch.bool)
    remembered[rng.permutation(batch)[:kept]] = True
    seen = remembered[None, :] | torch.eye(batch, dtype=torch.bool)  # (B, B)
    return seen.repeat_interleave(classes, dim=1)


def augment(
    photo: UInt8[np.ndarray, "height width 3"], label: UInt8[np.ndarray, "height width"], recipe: Recipe, rng: np.random.Generator
) -> tuple[Float[Tensor, "3 crop crop"], Int64[Tensor, "crop crop"]]:
    """Squash to a random side, random crop, flip, mild brightness, contrast and colour jitter; values in [0, 255]."""
    side = int(rng.integers(recipe.smallest, recipe.largest + 1))
    pixels = shrink(photo, side).float()
    mask = F.interpolate(torch.from_numpy(label)[None, None], (side, side), mode="nearest")[0, 0].long()
    top, left = (int(v) for v in rng.integers(0, side - recipe.crop + 1, 2))
    window = (slice(top, top + recipe.crop), slice(left, left + recipe.crop))
    pixels, mask = pixels[:, window[0], window[1]], mask[window]
    pixels, mask = maybe_flip(pixels, mask, rng)
    pixels = jitter_color(pixels, rng)
    return simulate_camera(pixels, rng) if recipe.cameras else pixels, mask


def loss_of(segmenter: Segmenter, teacher: nn.Module, x: Tensor, label: Tensor, visible: Tensor) -> Tensor:
    """The step's loss; labels are read at the stride of the logits."""
    output = segmenter(x, visible=visible)
    target = F.interpolate(label[:, None].float(), output.logits.shape[2:], mode="nearest")[:, 0].long()
    own = output.features.logits
    if not own.requires_grad:  # a frozen base has nothing to learn or forget
        return masked_cross_entropy(output.logits, target)
    with torch.no_grad():
        before = teacher(x).logits.softmax(1)
    supervised = masked_cross_entropy(output.logits, target) + AUXILIARY_WEIGHT * masked_cross_entropy(own, target)
    return supervised + FORGET_NOTHING_WEIGHT * divergence(own, before)


def group_folder(network: nn.Module, folder: LabelledFolder, device: torch.device, seed: int) -> Int64[np.ndarray, " photos"]:
    """Groups of the training photos, from the network's own description of them."""
    rows = []
    with torch.inference_mode():
        for index in range(len(folder)):
            rows.append(describe(network(normalize(shrink(folder.load(index), 224)[None]).to(device)).deep)[0])
    return group_photos(np.stack(rows), seed=seed)[0]


class Trainer:
    """Holds all that a checkpoint holds: the network, its running mean, the optimiser, the step."""

    def __init__(self, segmenter: Segmenter, recipe: Recipe, folder: LabelledFolder, out: Path, device: torch.device) -> None:
        self.recipe, self.folder, self.out, self.device = recipe, folder, out, device
        self.segmenter = channels_last(segmenter.to(device))
        self.teacher = copy.deepcopy(segmenter.base).eval().requires_grad_(False)
        segmenter.base.requires_grad_(recipe.base_rate > 0)
        self.mean = copy.deepcopy(segmenter).eval().requires_grad_(False)
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
        return self.out / "state.pt"

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
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
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
            self.groups = group_folder(self.teacher, self.folder, self.device, self.recipe.seed)
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
        pairs = [augment(self.folder.load(i), self.folder.label(i), self.recipe, rng) for i in batch]
        x = normalize(torch.stack([pixels for pixels, _ in pairs]).to(self.device))
        label = torch.stack([mask for _, mask in pairs]).to(self.device)
        visible = visible_mates(len(batch), self.segmenter.context.classes, rng).to(self.device)

        for group in self.optimizer.param_groups:  # warm-up over the first 3 %, then a cosine down to nothing
            group["lr"] = group["peak"] * min(1.0, done / 0.03 + 0.01) * 0.5 * (1 + math.cos(math.pi * done))
        self.segmenter.train()
        freeze_batch_norm(self.segmenter.base)
        with torch.autocast(self.device.type, dtype=torch.float16, enabled=self.device.type == "cuda"):
            loss = loss_of(self.segmenter, self.teacher, x, label, visible)
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
        decay = min(EMA_DECAY, (1 + self.step) / (10 + self.step))
        for mean, now in zip(self.mean.state_dict().values(), self.segmenter.state_dict().values(), strict=True):
            if mean.dtype.is_floating_point:
                mean.lerp_(now, 1 - decay)
            else:
                mean.copy_(now)


def main(
    data: Annotated[Path, typer.Option(help="Labelled folder: images/ + masks/, or JPEGImages/ + SegmentationClass/.")],
    out: Annotated[Path, typer.Option(help="Run folder: state.pt (resumable) and, at the end, espnetv2.safetensors.")],
    weights: Annotated[
        Path | None, typer.Option(help="Weights to start at: published ESPNetv2 (.pth), or ours (.safetensors). Random without.")
    ] = None,
    width: Annotated[float, typer.Option(help="ESPNetv2's scale s.")] = 2.0,
    epochs: Annotated[int, typer.Option(help="Passes over the photos.")] = Recipe.epochs,
    base_rate: Annotated[float, typer.Option(help="AdamW rate of the base network; 0 freezes it.")] = Recipe.base_rate,
    context_rate: Annotated[float, typer.Option(help="AdamW rate of the context module.")] = Recipe.context_rate,
    cameras: Annotated[bool, typer.Option(help="Show photos through simulated cameras too.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of grouping, order and augmentation.")] = 0,
    checkpoint_steps: Annotated[int, typer.Option(help="Steps between checkpoints.")] = 50,
    limit: Annotated[int | None, typer.Option(help="Use only the first N photos (for a trial).")] = None,
) -> None:
    """Train a base and its context module together; resumable, with a progress bar."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    folder = LabelledFolder.open(data)
    if limit is not None:
        folder = folder.subset(folder.ids[:limit])
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    recipe = Recipe(epochs=epochs, base_rate=base_rate, context_rate=context_rate, cameras=cameras, seed=seed)
    trainer = Trainer(build(weights, width), recipe, folder, out, device)
    trainer.load()
    trainer.train(checkpoint_steps)
    size = write_base_weights(trainer.mean, out / "espnetv2.safetensors")
    print(f"wrote {out / 'espnetv2.safetensors'} ({size / 1e6:.2f} MB)")


if __name__ == "__main__":
    typer.run(main)
