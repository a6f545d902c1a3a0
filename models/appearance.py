"""Appearance alignment, step 1 without source data: a gallery is shown to the network in the light and at the size that it knows best.

What a network has seen in training is written in its batch-norm layers: the mean and variance of every channel. A dark, hazy or blurred
gallery has others. So a few corrections of the input are tried on some photos, and the one under which the gallery's statistics come
nearest to those of training is kept (ours, docs/decisions/0006). It learns no weight, sees no label, and costs nothing at inference.

Corrections: light (one gain and offset for all channels) or colour (one for each), half-way or all the way to the source's channel
statistics, all photos of the gallery alike; and a smaller side, for photos of low resolution, which look ordinary when they
are small. Photos out of focus do not (docs/decisions/0023).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from models.bases.registry import Base
from models.gallery import network_input, resize_batch, snap
from models.memory import nothing

SOURCE_MEAN = (119.2, 114.6, 101.3)
SOURCE_DEVIATION = (56.1, 55.8, 57.3)
"""Channel means and mean standard deviations within a photo, RGB in [0, 255]: measured on 300 photos of `voc2012/train`. Ours."""
STRENGTHS = (0.5, 1.0)  # ours: of the way from the gallery's statistics to the source's
SIDES = (5 / 6, 2 / 3)  # ours: smaller sides that are tried, times the base's
DETAIL_SIDES = (192, 96, 48)  # pixels, two octaves of detail
MIN_DETAIL = 0.45  # ours: below, photos are blurred even at a smaller side; sharp ones have about 0.75
MIN_GAIN = 0.08  # ours: a correction must bring the statistics nearer by this share
COLOUR_HANDICAP = 0.03  # ours: colour must be better than light by this share, because it can tint
STATISTICS_SIDE = 128  # pixels; the gallery's light is measured on small copies
MAX_DIVERGENCE = 20.0  # nats; ours: a dead channel's divergence counts at most so much
MIN_DEVIATION = 4.0  # of 255; ours: a uniform gallery is not stretched without bound
SAMPLE = 16  # photos; ours
BATCH = 8  # photos
AS_IT_IS = "as it is"


@dataclass(frozen=True)
class Appearance:
    """How photos are shown to the network: RGB·gain + offset, clipped to [0, 255], squashed to `side` pixels."""

    gain: tuple[float, float, float]
    offset: tuple[float, float, float]
    side: int
    kind: str = AS_IT_IS
    smaller: bool = False
    """Whether `side` is not the base's own."""

    @classmethod
    def untouched(cls, side: int) -> Appearance:
        """Photos as they are."""
        return cls((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), side)

    @property
    def changes_anything(self) -> bool:
        """Whether photos are shown otherwise than to the base."""
        return self.changes_light or self.smaller

    @property
    def words(self) -> str:
        """For a user."""
        size = f"at {self.side} pixels" if self.smaller else ""
        kind = f"with corrected {self.kind.split()[0]}" if self.changes_light else ""
        return " and ".join(part for part in (kind, size) if part) or AS_IT_IS

    @property
    def changes_light(self) -> bool:
        """Whether the values change at all."""
        return self.gain != (1.0, 1.0, 1.0) or self.offset != (0.0, 0.0, 0.0)

    def show(self, pixels: UInt8[Tensor, "photos 3 h w"]) -> UInt8[Tensor, "photos 3 h w"]:
        """The corrected photos at the size they have, rounded."""
        if not self.changes_light:
            return pixels
        gain, offset = (torch.tensor(values, device=pixels.device).view(3, 1, 1) for values in (self.gain, self.offset))
        shown = torch.empty_like(pixels)
        for photo, corrected in zip(pixels, shown, strict=True):  # one at a time: as floats a gallery is four times as large
            corrected.copy_((photo.float() * gain + offset).round().clamp(0, 255))
        return shown

    def to_json(self) -> dict[str, Any]:
        """For the report."""
        return {
            "kind": self.kind,
            "gain": [round(v, 4) for v in self.gain],
            "offset": [round(v, 2) for v in self.offset],
            "side": self.side,
        }

    @classmethod
    def exactly(cls, facts: Mapping[str, Any]) -> Appearance:
        """From the fields as they are, as in a checkpoint."""
        (red, green, blue), (r, g, b) = facts["gain"], facts["offset"]
        return cls((red, green, blue), (r, g, b), facts["side"], facts["kind"], facts["smaller"])


@dataclass(frozen=True)
class Choice:
    """The appearance that was chosen, and how far from the training statistics each candidate was, in nats."""

    appearance: Appearance
    distances: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """For the report."""
        return {**self.appearance.to_json(), "distances": {name: round(value, 4) for name, value in self.distances.items()}}


def channel_statistics(pixels: UInt8[Tensor, "photos 3 h w"]) -> tuple[Float[Tensor, 3], Float[Tensor, 3], Tensor, Tensor]:
    """Mean over the gallery and mean standard deviation within a photo: of each channel, and of the mean of the channels."""
    # One at a time: torch makes floats of what it resizes, and those of a gallery are four times its size.
    small = torch.cat([resize_batch(photo[None], STATISTICS_SIDE) for photo in pixels]).float()
    light = small.mean(1)
    return small.mean((0, 2, 3)), small.std((2, 3)).mean(0), light.mean(), light.std((1, 2)).mean()


def fine_detail(pixels: UInt8[Tensor, "photos 3 h w"]) -> float:
    """How much of the light's detail is fine: RMS of what a copy of 192 pixels has beyond one of 96, by that of 96 beyond 48.

    Median over the photos; 0 of uniform ones. About 0.75 of ordinary photos (each octave of a natural image holds nearly as much as the
    next), 0.5 of photos enlarged from 160 pixels, less of blurred ones.
    """
    ratios = []
    for photo in pixels:
        fine, middle, coarse = (resize_batch(photo[None], side).float().mean(1, keepdim=True) for side in DETAIL_SIDES)
        ratios.append(_beyond(fine, middle) / max(_beyond(middle, coarse), 1e-6))
    return float(np.median(ratios))


def _beyond(large: Float[Tensor, "1 1 h w"], small: Float[Tensor, "1 1 h2 w2"]) -> float:
    """RMS of what the larger copy shows and the smaller one does not."""
    enlarged = torch.nn.functional.interpolate(small, large.shape[2:], mode="bilinear", align_corners=False)
    return float((large - enlarged).square().mean().sqrt())


def light_candidates(pixels: UInt8[Tensor, "photos 3 h w"], side: int) -> list[Appearance]:
    """Untouched; light and colour moved by each of STRENGTHS from the gallery's statistics to the source's.

    With strength a, mean m and deviation s: gain = (s_source / s)^a, and the mean goes to m + a·(m_source − m).
    """
    mean, deviation, light_mean, light_deviation = channel_statistics(pixels)
    source_mean, source_deviation = torch.tensor(SOURCE_MEAN), torch.tensor(SOURCE_DEVIATION)
    candidates = [Appearance.untouched(side)]
    pairs = (
        ("light", light_mean.expand(3), light_deviation.expand(3), source_mean.mean().expand(3), source_deviation.mean().expand(3)),
        ("colour", mean, deviation, source_mean, source_deviation),
    )
    for kind, m, s, source_m, source_s in pairs:
        for strength in STRENGTHS:
            gain = (source_s / s.clamp(min=MIN_DEVIATION)) ** strength
            offset = m + strength * (source_m - m) - gain * m
            candidates.append(Appearance(_three(gain), _three(offset), side, f"{kind} {strength:g}"))
    return candidates


def _three(values: Float[Tensor, 3]) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


@contextmanager
def batch_norm_inputs(network: nn.Module, hear: Callable[[nn.modules.batchnorm._BatchNorm, Tensor], None]) -> Iterator[None]:
    """Inside the block, `hear` is told of every batch-norm layer of `network` and its input, pass by pass; nothing of it is kept."""
    layers = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    hooks = [layer.register_forward_pre_hook(lambda layer, inputs: hear(layer, inputs[0])) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class StatisticsDistance:
    """How far the inputs of a network's batch-norm layers are from the running statistics of training, added up over batches."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self._sums: dict[nn.Module, tuple[Tensor, Tensor, int]] = {}

    @torch.no_grad()
    def add(self, x: Float[Tensor, "photos 3 h w"]) -> None:
        """One batch, normalised."""
        with batch_norm_inputs(self.network, self._count):
            self.network(x)

    def _count(self, layer: nn.modules.batchnorm._BatchNorm, values: Tensor) -> None:
        values = values.float()
        count = values.numel() // values.shape[1]
        total, squares = values.sum((0, 2, 3)).double(), values.square().sum((0, 2, 3)).double()
        before = self._sums.get(layer)
        self._sums[layer] = (total, squares, count) if before is None else (before[0] + total, before[1] + squares, before[2] + count)

    def value(self) -> float:
        """Mean over layers of the mean over channels of KL(N(gallery) ‖ N(training)), in nats; 0 for a network without batch norm."""
        means = []
        for layer, (total, squares, count) in self._sums.items():
            mean = total / count
            variance = (squares / count - mean.square()).clamp(min=1e-8)
            means.append(gaussian_divergence(mean, variance, layer.running_mean.double(), layer.running_var.double() + layer.eps).mean())  # type: ignore[operator, arg-type]
        return float(torch.stack(means).mean()) if means else 0.0


def gaussian_divergence(
    mean: Float[Tensor, " channels"],
    variance: Float[Tensor, " channels"],
    reference_mean: Float[Tensor, " channels"],
    reference_variance: Float[Tensor, " channels"],
) -> Float[Tensor, " channels"]:
    """KL(N(mean, variance) ‖ N(reference)) per channel in nats, at most MAX_DIVERGENCE."""
    ratio = variance / reference_variance
    distance = (mean - reference_mean).square() / reference_variance
    return (0.5 * (ratio + distance - 1 - ratio.log())).clamp(max=MAX_DIVERGENCE)


def choose_appearance(
    base: Base,
    pixels: UInt8[Tensor, "photos 3 h w"],
    *,
    known: Mapping[str, float] | None = None,
    at_once: int = BATCH,
    on_step: Callable[[int, int, dict[str, float]], None] = lambda step, steps, distances: None,
    heed: Callable[[], None] = nothing,
    out_of_time: Callable[[], bool] = lambda: False,
) -> Choice:
    """First the light at the base's own side, then the side under that light, unless the photos are out of focus (`fine_detail`).

    `pixels`: small copies of the gallery's photos.
    `known`: distances that an earlier run has measured; `on_step` hears of each that is new, with all so far. `at_once`: photos that go
    through the network together; `heed` is asked before each pass. `out_of_time` too: what has been measured by then is chosen from.
    """
    positions = np.unique(np.linspace(0, len(pixels) - 1, min(SAMPLE, len(pixels))).round().astype(int)).tolist()
    sample = pixels[positions]
    lights = light_candidates(pixels, base.info.side)
    shares = SIDES if fine_detail(sample) >= MIN_DETAIL else ()
    sides = sorted({snap(base.info.side * share) for share in shares} - {base.info.side}, reverse=True)
    distances = dict(known or {})

    def distance_of(name: str, appearance: Appearance) -> float | None:
        if name not in distances:
            found = _distance(base, appearance, sample, at_once, heed, out_of_time)
            if found is None:
                return None
            distances[name] = found
            on_step(len(distances), len(lights) + len(sides), distances)
        return distances[name]

    measured = [appearance for appearance in lights if distance_of(appearance.kind, appearance) is not None]
    if not measured:
        return Choice(lights[0], distances)
    light = _best_light(measured, distances)
    best, nearest = light, distances[light.kind] * (1 - MIN_GAIN)
    for side in sides:
        smaller = Appearance(light.gain, light.offset, side, light.kind, smaller=True)
        if (found := distance_of(f"side {side}", smaller)) is not None and found < nearest:
            best, nearest = smaller, found
    return Choice(best, distances)


def _best_light(candidates: Sequence[Appearance], distances: dict[str, float]) -> Appearance:
    untouched = candidates[0]
    best = min(candidates, key=lambda a: distances[a.kind] * (1 + COLOUR_HANDICAP * a.kind.startswith("colour")))
    return best if distances[best.kind] < (1 - MIN_GAIN) * distances[untouched.kind] else untouched


def _distance(
    base: Base,
    appearance: Appearance,
    pixels: UInt8[Tensor, "photos 3 h w"],
    at_once: int,
    heed: Callable[[], None],
    out_of_time: Callable[[], bool],
) -> float | None:
    """None where time ran out meanwhile."""
    distance = StatisticsDistance(base.segmenter.base)
    for start in range(0, len(pixels), at_once):
        heed()
        if out_of_time():
            return None
        shown = appearance.show(resize_batch(pixels[start : start + at_once], appearance.side))
        distance.add(network_input(shown, appearance.side, base.device))
    return distance.value()
