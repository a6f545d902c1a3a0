"""The context module against a slow reference that reads like the paper's text."""

import math

import pytest
import torch

import models
from models.context import InterImageContext, attend, class_proxies, group_mask
from models.preprocess import normalize, shrink
from models.segmenter import doubt
from models.types import Features

IMAGES, CLASSES, CHANNELS, SIDE = 3, 4, 5, 2


def slow_proxies(features: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
    proxies = torch.zeros(features.shape[0], coarse.shape[1], features.shape[1])
    for image in range(features.shape[0]):
        for label in range(coarse.shape[1]):
            scores = [math.exp(value) for value in coarse[image, label].flatten().tolist()]
            for position, score in enumerate(scores):
                feature = features[image].flatten(1)[:, position]
                proxies[image, label] += score / sum(scores) * feature
    return proxies


def slow_attend(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
    out = torch.zeros_like(queries)
    for image in range(queries.shape[0]):
        for position in range(queries.shape[1]):
            query = queries[image, position]
            seen = [p for p in range(keys.shape[0]) if visible[image, p]]
            scores = [math.exp(float(query @ keys[p]) / math.sqrt(len(query))) for p in seen]
            for p, score in zip(seen, scores, strict=True):
                out[image, position] += score / sum(scores) * values[p]
    return out


@pytest.fixture
def features() -> Features:
    torch.manual_seed(1)
    return Features(
        deep=torch.randn(IMAGES, 7, 1, 1),
        fine=torch.randn(IMAGES, 6, SIDE, SIDE),
        logits=3 * torch.randn(IMAGES, CLASSES, 4 * SIDE, 4 * SIDE),
    )


@pytest.fixture
def context() -> InterImageContext:
    torch.manual_seed(2)
    module = InterImageContext(7, 6, CLASSES, channels=8, key_channels=8).eval()
    torch.nn.init.normal_(module.classify.weight)
    return module


def test_class_proxies_equal_the_reference() -> None:
    torch.manual_seed(0)
    features, coarse = torch.randn(IMAGES, CHANNELS, SIDE, SIDE), torch.randn(IMAGES, CLASSES, SIDE, SIDE)
    torch.testing.assert_close(class_proxies(features, coarse), slow_proxies(features, coarse))


def test_group_context_equals_the_reference_over_all_proxies_of_the_group() -> None:
    torch.manual_seed(0)
    queries, keys, values = torch.randn(IMAGES, 4, 8), torch.randn(IMAGES, CLASSES, 8), torch.randn(IMAGES, CLASSES, 8)
    visible = group_mask(torch.tensor([0, 1, 0]), CLASSES)
    # row b·K + k of the flattened proxies must be photo b's class k (the released code mixes them up)
    rows = [(keys[b, k], values[b, k]) for b in range(IMAGES) for k in range(CLASSES)]
    expected = slow_attend(queries, torch.stack([k for k, _ in rows]), torch.stack([v for _, v in rows]), visible)
    torch.testing.assert_close(attend(queries, keys.flatten(0, 1)[None], values.flatten(0, 1)[None], visible), expected)


def test_group_mask_shows_each_photo_its_own_group() -> None:
    assert group_mask(torch.tensor([0, 1, 0]), 2).tolist() == [
        [True, True, False, False, True, True],
        [False, False, True, True, False, False],
        [True, True, False, False, True, True],
    ]


def test_a_photo_of_another_group_changes_nothing(features: Features, context: InterImageContext) -> None:
    together = context(features, groups=torch.tensor([0, 0, 1]))
    pair = context(Features(*(part[:2] for part in features)))
    torch.testing.assert_close(together[:2], pair)


def test_group_mates_do_change_the_result(features: Features, context: InterImageContext) -> None:
    alone = context(features, groups=torch.arange(IMAGES))
    assert not torch.allclose(context(features), alone, atol=1e-3)


def test_the_bank_stands_in_for_absent_group_mates(features: Features, context: InterImageContext) -> None:
    together = context(features)
    remembered = context.describe(features)[1][1:].flatten(0, 1)
    alone = context(Features(*(part[:1] for part in features)), bank=remembered)
    torch.testing.assert_close(alone, together[:1])


def test_an_empty_bank_is_no_bank(features: Features, context: InterImageContext) -> None:
    empty = torch.zeros(0, context.channels)
    torch.testing.assert_close(context(features, bank=empty), context(features))


def test_a_new_module_changes_nothing(features: Features) -> None:
    assert torch.equal(InterImageContext(7, 6, CLASSES)(features), torch.zeros(IMAGES, CLASSES, SIDE, SIDE))


def test_doubt_by_hand() -> None:
    logits = torch.tensor([[[[0.0, 100.0]], [[0.0, 0.0]]]])  # an even chance, and certainty
    torch.testing.assert_close(doubt(logits), torch.tensor([[[[1.0, 0.0]]]]))


def test_context_changes_no_more_than_the_base_is_in_doubt(tiny: models.Base, photos) -> None:
    segmenter = tiny.segmenter
    with torch.no_grad():
        output = segmenter(normalize(shrink(photos[0], 128)[None]))
        strongest = segmenter.context(output.features).abs().max()
    change = (output.logits - output.features.logits).abs().amax(1, keepdim=True)
    assert (change <= doubt(output.features.logits) * strongest + 1e-4).all()
    assert change.max() > 0.1
