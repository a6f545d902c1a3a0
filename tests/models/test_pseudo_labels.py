import math

import pytest
import torch

from models.pseudo_labels import Prediction, average_predictions, class_thresholds, concatenate, easy_photos, most_likely, select

LABELS = torch.tensor([[[0, 0, 0, 0, 0], [1, 1, 1, 1, 0]]], dtype=torch.uint8)
CONFIDENCE = torch.tensor([[[0.1, 0.2, 0.3, 0.4, 0.5], [0.25, 0.5, 0.75, 1.0, 0.6]]], dtype=torch.float16)
PREDICTION = Prediction(LABELS, CONFIDENCE, torch.tensor([0.5]))


def test_thresholds_by_hand() -> None:
    # class 0: 0.1 … 0.6, the best half is {0.4, 0.5, 0.6}; class 1: {0.75, 1.0}; class 2 has no pixel
    thresholds = class_thresholds(PREDICTION, 3, 0.5)
    assert thresholds[:2].tolist() == pytest.approx([0.4, 0.75], abs=1e-3)
    assert math.isinf(thresholds[2])


def test_entropy_by_hand() -> None:
    # one photo of two pixels: an even choice between two classes (log 2), a certain one (0)
    prediction = most_likely(torch.tensor([[[[0.5, 1.0]], [[0.5, 0.0]]]]))
    assert prediction.entropy.tolist() == pytest.approx([math.log(2) / 2])


@pytest.mark.parametrize(("share", "easy"), [(1.0, [0, 1, 2, 3]), (0.5, [1, 3]), (0.6, [1, 3]), (0.0, [3])])
def test_the_easy_photos_are_those_of_lowest_entropy(share: float, easy: list[int]) -> None:
    assert easy_photos(torch.tensor([0.9, 0.2, 0.5, 0.1]), share).nonzero().flatten().tolist() == easy


def test_predictions_of_batches_become_one() -> None:
    both = concatenate([PREDICTION, PREDICTION])
    assert both.labels.shape == (2, 2, 5)
    assert both.entropy.tolist() == [0.5, 0.5]


def test_one_threshold_for_all_classes_by_hand() -> None:
    # of all ten confidences the best half is {0.5, 0.5, 0.6, 0.75, 1.0}
    thresholds = class_thresholds(PREDICTION, 3, 0.5, balanced=False)
    assert thresholds[:2].tolist() == pytest.approx([0.5, 0.5], abs=1e-3)
    assert math.isinf(thresholds[2])


def test_select_keeps_the_confident_pixels_of_each_class() -> None:
    assert select(PREDICTION, class_thresholds(PREDICTION, 3, 0.5)).tolist() == [[[255, 255, 255, 0, 0], [255, 255, 1, 1, 0]]]


@pytest.mark.parametrize(("share", "kept"), [(1.0, 10), (0.0, 2), (1e-9, 2)])
def test_keeping_all_and_keeping_least(share: float, kept: int) -> None:
    selected = select(PREDICTION, class_thresholds(PREDICTION, 3, share))
    assert int((selected != 255).sum()) == kept


def test_most_likely_by_hand() -> None:
    prediction = most_likely(torch.tensor([[[[0.2, 0.5]], [[0.8, 0.5]]]]))
    assert prediction.labels.tolist() == [[[1, 0]]]
    assert prediction.confidence.tolist()[0][0] == pytest.approx([0.8, 0.5], abs=1e-3)


def test_the_average_over_views_is_a_distribution_and_does_not_change_under_mirroring(tiny, photos) -> None:
    from models.preprocess import shrink

    pixels = torch.stack([shrink(photo, 128) for photo in photos[:2]])
    with torch.no_grad():
        average = average_predictions(tiny.segmenter, pixels, side=128, scales=(0.75, 1.0), device=tiny.device, size=64)
        mirrored = average_predictions(tiny.segmenter, pixels.flip(3), side=128, scales=(0.75, 1.0), device=tiny.device, size=64)
    assert average.shape == (2, 21, 64, 64)
    torch.testing.assert_close(average.sum(1), torch.ones(2, 64, 64))
    torch.testing.assert_close(mirrored.flip(3), average, atol=2e-2, rtol=0)  # antialiasing is not exactly symmetric
