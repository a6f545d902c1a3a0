import copy
import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torch import nn

import models
from models.appearance import (
    AS_IT_IS,
    MAX_DIVERGENCE,
    MIN_DETAIL,
    SOURCE_MEAN,
    Appearance,
    StatisticsDistance,
    channel_statistics,
    choose_appearance,
    fine_detail,
    gaussian_divergence,
    light_candidates,
)
from models.preprocess import normalize, shrink


def small(photos: tuple[np.ndarray, ...], side: int = 256) -> torch.Tensor:
    return torch.stack([shrink(photo, side) for photo in photos])


def test_show_by_hand() -> None:
    pixels = torch.tensor([100, 200, 30], dtype=torch.uint8).view(1, 3, 1, 1)
    shown = Appearance((2.0, 2.0, 0.5), (-50.0, 0.0, 3.0), 32).show(pixels)
    assert shown.flatten().tolist() == [150, 255, 18]  # 200 − 50; 400 is clipped; 15 + 3


def test_untouched_shows_the_very_same_values() -> None:
    pixels = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    assert Appearance.untouched(32).show(pixels) is pixels
    assert not Appearance.untouched(32).changes_anything


def test_statistics_by_hand() -> None:
    """Two photos: one black and white in halves, one grey."""
    pixels = torch.zeros(2, 3, 128, 128)
    pixels[0, :, :64] = 200
    pixels[1] = 60
    mean, deviation, light_mean, light_deviation = channel_statistics(pixels.to(torch.uint8))
    assert mean.tolist() == pytest.approx([80.0] * 3, abs=0.5)
    assert deviation.tolist() == pytest.approx([50.0] * 3, abs=0.5)  # deviations 100 and 0
    assert (float(light_mean), float(light_deviation)) == pytest.approx((80.0, 50.0), abs=0.5)


def test_full_strength_of_colour_reaches_the_sources_means(photos) -> None:
    """An invertible camera (dim, tinted) is undone as far as two moments go."""
    dim = torch.stack([shrink((photo * np.array([0.5, 0.4, 0.3])).astype(np.uint8), 128) for photo in photos])
    full = next(a for a in light_candidates(dim, 256) if a.kind == "colour 1")
    mean, _, _, _ = channel_statistics(full.show(dim))
    assert mean.tolist() == pytest.approx(SOURCE_MEAN, abs=6)  # clipping costs a little


def test_light_moves_all_channels_alike(photos) -> None:
    for appearance in light_candidates(small(photos), 256):
        if appearance.kind.startswith("light"):
            assert len(set(appearance.gain)) == len(set(appearance.offset)) == 1


def test_divergence_by_hand() -> None:
    one, four = torch.ones(1), torch.full((1,), 4.0)
    zero = torch.zeros(1)
    assert float(gaussian_divergence(zero, one, zero, one)) == 0.0
    assert float(gaussian_divergence(zero + 3, one, zero, one)) == pytest.approx(4.5)  # 3² / 2
    assert float(gaussian_divergence(zero, four, zero, one)) == pytest.approx(0.5 * (4 - 1 - math.log(4)))
    assert float(gaussian_divergence(zero + 1e6, one, zero, one)) == MAX_DIVERGENCE


def test_distance_is_zero_on_the_training_statistics_and_grows_off_them() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.BatchNorm2d(3)).eval()
    x = torch.randn(4, 3, 64, 64)
    network[0].running_mean.copy_(x.mean((0, 2, 3)))
    network[0].running_var.copy_(x.var((0, 2, 3), unbiased=False))

    def distance(values: torch.Tensor) -> float:
        measured = StatisticsDistance(network)
        measured.add(values[:1])  # batches add up
        measured.add(values[1:])
        return measured.value()

    assert distance(x) == pytest.approx(0.0, abs=1e-4)
    assert 0.01 < distance(x * 1.2) < distance(x * 1.5)
    assert distance(x + 0.5) == pytest.approx(0.5 * 0.25 / float(x.var()), rel=0.05)


@pytest.mark.parametrize("passes", [0, 1, 2, 30])
def test_where_time_runs_out_the_best_of_what_was_measured_is_taken(tiny: models.Base, photos, passes: int) -> None:
    hazy = small(tuple((150 + 0.35 * photo).astype(np.uint8) for photo in photos))
    whole = choose_appearance(tiny, hazy)
    asked = iter(range(1000))
    found = choose_appearance(tiny, hazy, at_once=len(hazy), out_of_time=lambda: next(asked) >= passes)
    assert list(found.distances) == list(whole.distances)[:passes]
    assert found.appearance.changes_anything == (passes > 1)
    if passes == 30:
        assert found.appearance == whole.appearance


def test_measuring_leaves_no_hook_behind(tiny: models.Base, photos) -> None:
    StatisticsDistance(tiny.segmenter.base).add(normalize(small(photos[:1], 64)))
    assert not any(module._forward_pre_hooks for module in tiny.segmenter.base.modules())


def test_ordinary_photos_are_left_as_they_are(tiny: models.Base, photos) -> None:
    choice = choose_appearance(tiny, small(photos))
    assert choice.appearance.kind == AS_IT_IS, choice.distances


def test_haze_is_lifted_and_the_distances_say_why(tiny: models.Base, photos) -> None:
    hazy = torch.stack([shrink((photo * 0.25 + 0.75 * 205).astype(np.uint8), 256) for photo in photos])
    choice = choose_appearance(tiny, hazy)
    assert choice.appearance.changes_light
    assert choice.appearance.gain[0] > 1.5
    assert choice.distances[choice.appearance.kind] < choice.distances[AS_IT_IS]


def blurred(photo: np.ndarray, radius: float) -> np.ndarray:
    return np.array(Image.fromarray(photo).filter(ImageFilter.GaussianBlur(radius * max(photo.shape) / 480)))


def enlarged(photo: np.ndarray, side: int = 160) -> np.ndarray:
    tiny = Image.fromarray(photo).resize((side, side), Image.Resampling.BILINEAR)
    return np.array(tiny.resize((480, 480), Image.Resampling.BILINEAR))


def test_fine_detail_tells_low_resolution_from_blur(photos) -> None:
    sharp, low, out_of_focus = (
        fine_detail(small(tuple(shown), 384)) for shown in (photos, map(enlarged, photos), (blurred(p, 3.5) for p in photos))
    )
    assert out_of_focus < MIN_DETAIL < low < sharp
    assert fine_detail(torch.full((2, 3, 384, 384), 90, dtype=torch.uint8)) == 0.0


def test_fine_detail_by_hand() -> None:
    """Stripes a pixel wide at 192 vanish at 96, but for the borders, so there is next to no coarser detail to compare with."""
    columns = torch.arange(192)
    narrow = (columns % 2 * 200).to(torch.uint8).expand(1, 3, 192, 192)
    assert fine_detail(narrow) > 50
    # of a slow wave linear interpolation misses less with each octave: a quarter, were the copies not smoothed
    slow = (128 + 120 * torch.sin(columns * 2 * math.pi / 32)).round().to(torch.uint8).expand(1, 3, 192, 192)
    assert 0.25 < fine_detail(slow) < MIN_DETAIL


def test_no_smaller_side_is_tried_on_photos_out_of_focus(tiny: models.Base, photos) -> None:
    def tried(shown: list[np.ndarray]) -> set[str]:
        return {name.split()[0] for name in choose_appearance(tiny, small(tuple(shown))).distances}

    assert "side" in tried(list(photos))
    assert "side" in tried([enlarged(photo) for photo in photos])
    assert "side" not in tried([blurred(photo, 3.5) for photo in photos])


def test_it_changes_nothing_in_the_base(tiny: models.Base, photos) -> None:
    before = copy.deepcopy(tiny.segmenter.state_dict())
    choose_appearance(tiny, small(photos))
    assert all(torch.equal(value, before[name]) for name, value in tiny.segmenter.state_dict().items())


@pytest.mark.parametrize("value", [0, 255, 128])
def test_a_uniform_gallery_gives_finite_numbers(tiny: models.Base, value: int) -> None:
    choice = choose_appearance(tiny, torch.full((3, 3, 256, 256), value, dtype=torch.uint8))
    assert all(math.isfinite(number) for number in choice.distances.values())
    assert all(math.isfinite(number) for number in (*choice.appearance.gain, *choice.appearance.offset))
