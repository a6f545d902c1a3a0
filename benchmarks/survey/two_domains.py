"""Training on labelled photos and on a user's at the same time: source batches, the two losses, SGD with its two rates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from benchmarks.survey.interface import Problem
from benchmarks.survey.loop import Plan, target_input
from models.losses import masked_cross_entropy
from models.preprocess import normalize, shrink

MOMENTUM, POWER = 0.9, 0.9
"""SGD and its polynomial decay, as AdaptSegNet (arXiv 1802.10349, section 4.3) and all that build on it have them."""
HEAD_RATE = 10.0
"""Times the rate, for the classifier: so in the released code of AdaptSegNet, AdvEnt, MaxSquare, FDA and IntraDA (`optim_parameters`)."""


def source_batch(problem: Problem, step: int) -> tuple[Float[Tensor, "images 3 side side"], Int64[Tensor, "images side side"]]:
    """A seeded random batch of labelled source photos, squashed to the base's side, mirrored every second time; RGB in [0, 255].

    Raises ValueError where the problem has no source.
    """
    source, side = problem.source, problem.base.info.side
    if source is None:
        raise ValueError("this method trains on source photos too: give the problem a source folder")
    rng = np.random.default_rng([problem.seed, 1, step])
    photos, labels = [], []
    for index in rng.choice(len(source), problem.batch_size, replace=len(source) < problem.batch_size):
        photo = shrink(source.load(int(index)), side).float()
        label = F.interpolate(torch.from_numpy(source.label(int(index)))[None, None], (side, side), mode="nearest")[0, 0].long()
        mirrored = rng.random() < 0.5
        photos.append(photo.flip(2) if mirrored else photo)
        labels.append(label.flip(1) if mirrored else label)
    return torch.stack(photos), torch.stack(labels)


def supervised_loss(logits: Float[Tensor, "images classes h w"], labels: Int64[Tensor, "images h2 w2"]) -> Float[Tensor, ""]:
    """Cross-entropy in nats at the logits' own size (stride 2)."""
    small = F.interpolate(labels[:, None].float(), logits.shape[2:], mode="nearest")[:, 0].long()
    return masked_cross_entropy(logits, small.to(logits.device))


@dataclass(frozen=True)
class Step:
    """A step of two-domain training: the positions of the user's photos, and both domains' logits (the source's without gradient)."""

    positions: list[int]
    source: Float[Tensor, "images classes h w"]
    target: Float[Tensor, "others classes h w"]


LabelledBatch = tuple[Float[Tensor, "images 3 side side"], Int64[Tensor, "images side side"]]


def classifiers(network: nn.Module, classes: int) -> list[nn.Conv2d]:
    """The convolutions whose results are the class logits (LR-ASPP adds up two); auxiliary heads, which `forward` leaves out, are none.

    Raises ValueError where there is none.
    """
    found = []
    for name, module in network.named_modules():
        auxiliary = any(part.startswith("aux") for part in name.split("."))
        if isinstance(module, nn.Conv2d) and module.out_channels == classes and not auxiliary:
            found.append(module)
    if not found:
        raise ValueError(f"no convolution of {type(network).__name__} ends in {classes} classes")
    return found


def two_rates(network: nn.Module, classes: int, rate: float, head_rate: float) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer, `at`: the rate to start at; the second holds the classifier."""
    head = [value for module in classifiers(network, classes) for value in module.parameters() if value.requires_grad]
    ids = {id(value) for value in head}
    body = [value for value in network.parameters() if value.requires_grad and id(value) not in ids]
    return [{"params": values, "lr": at, "at": at} for values, at in ((body, rate), (head, rate * head_rate))]


def train_two_domains(
    network: nn.Module,
    problem: Problem,
    plan: Plan,
    *,
    rate: float,
    weight_decay: float,
    target_loss: Callable[[Step], Tensor | None],
    head_rate: float = 1.0,
    after_step: Callable[[Step], None] = lambda step: None,
    labelled: Callable[[int, list[int]], LabelledBatch] | None = None,
) -> None:
    """Supervised loss on a labelled batch (source photos by default) + `target_loss` on a batch of the user's; SGD, poly decay.

    `target_loss`: None for a step that has none of it (the photos are seen all the same: batch norm may follow them). `head_rate`: times
    `rate`, for the classifier.
    """
    groups = two_rates(network, problem.base.classes, rate, head_rate)
    optimizer = torch.optim.SGD(groups, rate, MOMENTUM, weight_decay=weight_decay)
    for number, positions in plan:
        for group in optimizer.param_groups:
            group["lr"] = group["at"] * (1 - plan.done / plan.steps) ** POWER
        photos, labels = labelled(number, positions) if labelled is not None else source_batch(problem, number)
        optimizer.zero_grad(set_to_none=True)
        source = network(normalize(photos).to(problem.base.device)).logits
        supervised_loss(source, labels).backward()  # type: ignore[no-untyped-call]
        step = Step(positions, source.detach(), network(target_input(problem, positions)).logits)
        loss = target_loss(step)
        if loss is not None:
            loss.backward()  # type: ignore[no-untyped-call]  # added to the source's gradient: half the memory
        optimizer.step()
        after_step(step)
