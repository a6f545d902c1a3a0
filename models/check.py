"""What the guard looks at: photos of the gallery through the base, the appearance alone, and the personal model, each as it would serve."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from models.bases.registry import Base
from models.checkpoint_file import Section
from models.checkpoints import PersonalModel
from models.clock import Clock
from models.comparison import Comparison, Views, views
from models.config import PersonalizeConfig
from models.gallery import network_input, snap
from models.held_out import guarded
from models.inference import personal_logits
from models.look import Look
from models.resume import Journal
from models.types import PhotoSource

RESCALED = 0.75  # of the side; ours: the other size at which a prediction should say the same
STAGE = "checking"
ENOUGH = 8  # photos; ours: the guard looks at so many, whatever the budget says


@dataclass(frozen=True)
class Comparisons:
    """Of the same photos."""

    learned: Comparison
    """The appearance alone → the personal model: what training changed. With the averaged predictions as reference."""
    to_candidate: Comparison
    """The base → the personal model: what its user would see."""
    to_unlearned: Comparison
    """The base → the appearance alone."""

    def to_tensors(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        return {
            f"{name}.{key}": torch.from_numpy(values)
            for name, comparison in vars(self).items()
            for key, values in comparison.to_arrays().items()
        }

    def restore(self, photo_ids: Sequence[str], tensors: Mapping[str, Tensor]) -> None:
        """Goes on from a checkpoint."""
        for name, comparison in vars(self).items():
            prefix = f"{name}."
            comparison.restore(
                photo_ids, {key.removeprefix(prefix): values.numpy() for key, values in tensors.items() if key.startswith(prefix)}
            )


@torch.no_grad()
def check(
    base: Base,
    unlearned: PersonalModel | None,
    candidate: PersonalModel,
    photos: PhotoSource,
    seen: Look,
    averaged: UInt8[Tensor, "chosen h w"],
    config: PersonalizeConfig,
    clock: Clock,
    journal: Journal,
) -> Comparisons:
    """Looks at the photos that were held out, then at some of those learned from (`models.held_out`).

    `unlearned`: the base's weights under the gallery's appearance; None where photos are shown as they are. `averaged`: the most likely
    classes of the averaged predictions. Goes on from what `journal` has of an earlier run.
    """
    positions = guarded(len(seen.pixels), config)
    found = Comparisons(*(Comparison(base.classes) for _ in range(3)))
    size = (averaged.shape[1], averaged.shape[2])
    begun = journal.begun(STAGE)
    looked_at = list(begun.facts.get("photos", []))
    if looked_at:
        found.restore(looked_at, begun.tensors)
    models = stored_files(candidate, unlearned)
    for done, position in enumerate(positions):
        if done < len(looked_at):
            continue
        if clock.spent(1.0) and done >= ENOUGH:
            break
        photo_id = photos.ids[seen.indices[seen.chosen[position]]]
        pixels = seen.pixels[[position]]
        before = _views(lambda x, scale: base.segmenter(network_input(x, snap(scale * base.info.side), base.device)).logits, pixels, size)
        plain = before if unlearned is None else _views(partial(_served, unlearned, base), pixels, size)
        after = _views(partial(_served, candidate, base), pixels, size)
        found.learned.add(plain, after, photo_id=photo_id, reference=averaged[[position]].long().to(base.device))
        found.to_candidate.add(before, after, photo_id=photo_id)
        found.to_unlearned.add(before, plain, photo_id=photo_id)
        looked_at.append(photo_id)
        journal.note(STAGE, lambda: Section(models | found.to_tensors(), {"photos": looked_at}))
        clock.step(done + 1, len(positions))
    return found


def stored_files(candidate: PersonalModel, unlearned: PersonalModel | None) -> dict[str, UInt8[Tensor, " bytes"]]:
    """The model files that are judged, for a checkpoint: what was looked at is what must be served."""
    files = {"candidate": candidate.stored} | ({} if unlearned is None else {"unlearned": unlearned.stored})
    return {name: torch.frombuffer(bytearray(data), dtype=torch.uint8) for name, data in files.items()}


def stored_file(section: Section, name: str) -> bytes | None:
    """One of `stored_files` as it was; None where the checkpoint has none."""
    return section.tensors[name].numpy().tobytes() if name in section.tensors else None


def _served(model: PersonalModel, base: Base, x: UInt8[Tensor, "1 3 h w"], scale: float) -> Float[Tensor, "1 classes h2 w2"]:
    return personal_logits(model, x, base.device, scale=scale)


def _views(
    forward: Callable[[UInt8[Tensor, "1 3 h w"], float], Float[Tensor, "1 classes h2 w2"]],
    pixels: UInt8[Tensor, "1 3 h w"],
    size: tuple[int, int],
) -> Views:
    """`forward`: small copies and the share of the usual side at which to look → logits."""
    plain = views(lambda x: _at(forward(x, 1.0), size), pixels)
    return replace(plain, rescaled=_at(forward(pixels, RESCALED), size).argmax(1))


def _at(logits: Float[Tensor, "images classes h w"], size: tuple[int, int]) -> Float[Tensor, "images classes h2 w2"]:
    return F.interpolate(logits.float(), size, mode="bilinear", align_corners=False)
