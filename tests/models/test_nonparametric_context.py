"""The context without parameters, against a slow reference that reads like its description, and on a whole personalisation."""

import math

import pytest
import torch
from torch.nn import functional

import models
from models.bases.info import Base
from models.bases.registry import find_base
from models.nonparametric_context import NonParametricContext
from models.types import Features
from tests.models.conftest import Album

IMAGES, CLASSES, CHANNELS, SIDE = 3, 4, 5, 2
TEMPERATURE, WEIGHT = 7.0, 1.5


@pytest.fixture
def features() -> Features:
    torch.manual_seed(1)
    return Features(
        deep=torch.randn(IMAGES, CHANNELS, SIDE, SIDE),
        fine=torch.randn(IMAGES, 6, SIDE, SIDE),
        logits=3 * torch.randn(IMAGES, CLASSES, 4 * SIDE, 4 * SIDE),
    )


@pytest.fixture
def context() -> NonParametricContext:
    return NonParametricContext(CHANNELS, CLASSES, TEMPERATURE, WEIGHT)


def slow_proxies(features: Features, image: int) -> list[tuple[int, float, torch.Tensor]]:
    """(class, presence, direction) of each proxy of a photo."""
    coarse = functional.adaptive_avg_pool2d(features.logits, (SIDE, SIDE))[image]
    found = []
    for label in range(CLASSES):
        scores = [math.exp(float(coarse[label, y, x])) for y in range(SIDE) for x in range(SIDE)]
        mean = torch.zeros(CHANNELS)
        presence = 0.0
        for position, (y, x) in enumerate((y, x) for y in range(SIDE) for x in range(SIDE)):
            pixel = features.deep[image, :, y, x]
            mean += scores[position] / sum(scores) * pixel / pixel.norm()
            total = sum(math.exp(float(value)) for value in coarse[:, y, x])
            presence = max(presence, math.exp(float(coarse[label, y, x])) / total)
        found.append((label, presence, mean / mean.norm()))
    return found


def slow_context(features: Features, image: int, group: list[int]) -> torch.Tensor:
    out = torch.zeros(CLASSES, SIDE, SIDE)
    own = slow_proxies(features, image)
    mates = [proxy for mate in group for proxy in slow_proxies(features, mate)]
    for y in range(SIDE):
        for x in range(SIDE):
            pixel = features.deep[image, :, y, x] / features.deep[image, :, y, x].norm()
            for proxies in (own, mates):
                shares = [presence * math.exp(TEMPERATURE * float(pixel @ key)) for _, presence, key in proxies]
                for (label, _, _), share in zip(proxies, shares, strict=True):
                    out[label, y, x] += WEIGHT / 2 * share / sum(shares)
    return out


def test_it_equals_the_reference(features: Features, context: NonParametricContext) -> None:
    expected = torch.stack([slow_context(features, 0, [0, 2]), slow_context(features, 1, [1]), slow_context(features, 2, [0, 2])])
    torch.testing.assert_close(context(features, groups=torch.tensor([0, 1, 0])), expected)


def test_each_pixel_gets_the_weight_once(features: Features, context: NonParametricContext) -> None:
    torch.testing.assert_close(context(features).sum(1), torch.full((IMAGES, SIDE, SIDE), WEIGHT))


def test_the_bank_stands_in_for_absent_group_mates(features: Features, context: NonParametricContext) -> None:
    remembered = context.describe(features)[1][1:].flatten(0, 1)
    alone = context(Features(*(part[:1] for part in features)), bank=remembered)
    torch.testing.assert_close(alone, context(features)[:1])


def test_the_bank_survives_half_precision(features: Features, context: NonParametricContext) -> None:
    remembered = context.describe(features)[1].flatten(0, 1)
    exact, stored = (context(features, bank=bank) for bank in (remembered, remembered.half().float()))
    torch.testing.assert_close(stored, exact, atol=0.01, rtol=0)


def test_visible_proxies_override_the_groups(features: Features, context: NonParametricContext) -> None:
    alone = torch.eye(IMAGES, dtype=torch.bool).repeat_interleave(CLASSES, dim=1)
    torch.testing.assert_close(context(features, visible=alone), context(features, groups=torch.arange(IMAGES)))


def test_it_has_nothing_to_learn_or_to_store(context: NonParametricContext) -> None:
    assert list(context.state_dict()) == []


def test_a_class_that_is_not_there_has_next_to_no_say() -> None:
    logits = torch.zeros(1, 3, 2, 2)
    logits[:, 2] = -20.0  # class 2 is nowhere
    deep = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    correction = NonParametricContext(4, 3)(Features(deep, deep, logits))
    assert correction[:, 2].max() < 0.01


@pytest.fixture(scope="module")
def random_lraspp() -> Base:
    """torchvision's smallest network at random weights, for this test only; its last layers are scaled up so that it has opinions."""
    torch.manual_seed(0)
    info = find_base("lraspp_mobilenet_v3_large")
    segmenter = info.build().eval().requires_grad_(False)
    head = segmenter.base.network.classifier
    for layer in (head.low_classifier, head.high_classifier):
        layer.weight.mul_(30.0)
    return Base(info, segmenter, torch.device("cpu"))


def test_a_torchvision_base_personalises_end_to_end(random_lraspp: Base, photos) -> None:
    album = Album((*(photo[::4, ::4].copy() for photo in photos[:3]), photos[0][::4, ::-4].copy()))
    config = models.PersonalizeConfig(budget_seconds=120.0, scales=(1.0,), epochs=1, runs=1)
    result = models.personalize(random_lraspp, album, config)
    assert result.report["base"] == "lraspp_mobilenet_v3_large"
    assert result.candidate is not None, result.verdict
    assert result.candidate.bank.proxies.shape[1] == 960
    loaded = models.load_personal(result.candidate.stored, random_lraspp)
    with_bank = models.segment(random_lraspp, album.load(0), loaded)
    assert with_bank.labels.shape == album.load(0).shape[:2]
    assert torch.isfinite(torch.from_numpy(with_bank.confidence)).all()
