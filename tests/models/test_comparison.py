"""Figures worked out by hand on photos of eight pixels."""

import json

import pytest
import torch

from models.comparison import Comparison, Views, views
from models.counts import agreement, iou, mean_iou, photos_showing

NAMES = ("background", "cat", "dog")


def view(labels: list[int], confidence: list[float], *, mirrored: list[int] | None = None, rescaled: list[int] | None = None) -> Views:
    """One photo of one row: each pixel's label has its confidence, the other two classes share the rest."""
    index, sure = torch.tensor(labels), torch.tensor(confidence)
    probabilities = ((1 - sure) / 2).expand(3, -1).clone()
    probabilities[index, torch.arange(len(labels))] = sure
    again = None if rescaled is None else torch.tensor(rescaled)[None, None]
    return Views(probabilities[None, :, None], torch.tensor(labels if mirrored is None else mirrored)[None, None], again)


def first() -> tuple[Views, Views]:
    """Two cat pixels become dog, one of which the base was sure of; a background pixel becomes dog."""
    before = view([0, 0, 0, 0, 1, 1, 1, 1], [0.95, 0.95, 0.95, 0.5, 0.95, 0.95, 0.95, 0.6], mirrored=[0, 0, 0, 0, 1, 1, 1, 0])
    after = view([0, 0, 0, 2, 1, 1, 2, 2], [1.0, 1.0, 1.0, 0.6, 0.9, 0.9, 0.7, 0.9], mirrored=[0, 0, 2, 2, 1, 1, 2, 2])
    return before, after


@pytest.fixture
def comparison() -> Comparison:
    found = Comparison(3, 0.9)
    found.add(*first(), photo_id="one")
    found.add(view([0] * 8, [0.95] * 8), view([0] * 8, [0.99] * 8), photo_id="two")
    return found


def test_in_how_many_photos_the_base_is_sure_of_a_class(comparison: Comparison) -> None:
    assert comparison.total.photos == 2
    assert comparison.total.sure_photos.tolist() == [2, 1, 0]


def test_a_photo_shows_a_class_from_half_a_percent_of_its_pixels_on() -> None:
    labels = torch.zeros(3, 1, 200, dtype=torch.long)
    labels[0, 0, 0] = labels[1, 0, :5] = 1
    everywhere = torch.ones_like(labels, dtype=torch.bool)
    assert photos_showing(labels, everywhere, 3).tolist() == [3, 2, 0]  # one pixel of 200 is 0.5 %
    assert photos_showing(labels, labels == 1, 3).tolist() == [0, 2, 0]
    assert photos_showing(labels[:, :, :1].expand(3, 1, 400), everywhere[:, :, :1].expand(3, 1, 400), 3).tolist() == [1, 2, 0]


def test_one_photo(comparison: Comparison) -> None:
    one, two = comparison.per_photo()
    assert one == {
        "id": "one",
        "changed": 0.375,  # 3 of 8
        "sure_changed": 0.125,  # 1 of 8
        "confidence_before": 0.85,  # (6 × 0.95 + 0.5 + 0.6) / 8
        "confidence_after": 0.875,  # (3 × 1.0 + 3 × 0.9 + 0.6 + 0.7) / 8
        "mirror_before": 0.875,
        "mirror_after": 0.875,
        "classes": [
            {"id": 0, "before": 0.5, "after": 0.375},
            {"id": 1, "before": 0.5, "after": 0.25},
            {"id": 2, "before": 0, "after": 0.375},
        ],
    }
    assert (two["id"], two["changed"], two["classes"]) == ("two", 0, [{"id": 0, "before": 1, "after": 1}])


def test_each_class_over_all_photos(comparison: Comparison) -> None:
    background, cat, dog = comparison.per_class(NAMES)
    assert cat == {
        "id": 1,
        "name": "cat",
        "area_before": 0.25,  # 4 of 16
        "area_after": 0.125,
        "sure_before": 0.1875,  # 3 of 16
        "sure_kept": 0.66667,  # 2 of 3
        "confidence_before": 0.8625,  # (3 × 0.95 + 0.6) / 4
        "confidence_after": 0.9,
        "mirror_iou_before": 0.75,  # 3 both, 4 either
        "mirror_iou_after": 1,
    }
    assert (background["area_before"], background["sure_kept"]) == (0.75, 1)
    assert background["mirror_iou_after"] == 0.90909  # 10 of 11
    assert (dog["area_before"], dog["sure_kept"], dog["confidence_before"], dog["mirror_iou_before"]) == (0, None, None, None)
    assert (dog["area_after"], dog["confidence_after"], dog["mirror_iou_after"]) == (0.1875, 0.73333, 0.75)


def test_figures_over_all_photos(comparison: Comparison) -> None:
    figures = comparison.figures()
    assert figures["changed_share"] == 3 / 16
    assert figures["confident_share"] == 14 / 16
    assert figures["confident_agreement"] == 13 / 14
    # background and cat are what both models show; the mirrored base calls one cat pixel background
    assert figures["mirror_miou_before"] == pytest.approx((12 / 13 + 3 / 4) / 2)
    assert figures["mirror_miou_after"] == pytest.approx((10 / 11 + 1) / 2)
    assert "rescale_consistency_before" not in figures


def test_another_side_counts_where_the_caller_looked() -> None:
    comparison = Comparison(3, 0.9)
    comparison.add(
        view([0, 0, 1, 1], [0.9] * 4, rescaled=[0, 0, 0, 1]), view([0, 0, 1, 1], [0.9] * 4, rescaled=[0, 0, 1, 1]), photo_id="one"
    )
    figures = comparison.figures()
    assert (figures["rescale_consistency_before"], figures["rescale_consistency_after"]) == (0.75, 1)
    assert figures["rescale_miou_before"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    (photo,) = comparison.per_photo()
    assert (photo["rescale_before"], photo["rescale_after"]) == (0.75, 1)
    assert [entry["rescale_iou_before"] for entry in comparison.per_class(NAMES)] == [0.66667, 0.5]


def test_a_class_under_half_a_percent_of_a_photo_is_not_told() -> None:
    comparison = Comparison(3, 0.9)
    labels = [0] * 994 + [1] * 5 + [2]
    comparison.add(view(labels, [0.9] * 1000), view(labels, [0.9] * 1000), photo_id="one")
    assert [entry["id"] for entry in comparison.per_photo()[0]["classes"]] == [0, 1]
    assert [entry["id"] for entry in comparison.per_class(NAMES)] == [0, 1, 2]


def test_all_of_it_is_json_also_of_nothing() -> None:
    empty = Comparison(3, 0.9)
    assert json.loads(json.dumps([empty.figures(), empty.per_class(NAMES), empty.per_photo()]))[1:] == [[], []]
    assert empty.figures()["confident_agreement"] == 1


def test_photos_without_an_id_and_batches_count_in_the_figures_only() -> None:
    comparison, (before, after) = Comparison(3, 0.9), first()
    double = [Views(torch.cat([v.probabilities] * 2), torch.cat([v.mirrored] * 2)) for v in (before, after)]
    comparison.add(*double)
    assert comparison.per_photo() == []
    assert comparison.figures()["changed_share"] == 3 / 8
    with pytest.raises(ValueError, match="alone"):
        comparison.add(*double, photo_id="two")
    assert comparison.total.pixels == 16


def test_the_same_photo_twice_is_an_error(comparison: Comparison) -> None:
    with pytest.raises(ValueError, match="once"):
        comparison.add(*first(), photo_id="one")


def test_views_mirror_back() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 6)
    seen = views(lambda x: x * 3, x)  # acts pixel by pixel, so mirroring changes nothing
    assert torch.equal(seen.mirrored, seen.probabilities.argmax(1))


def test_overlaps() -> None:
    pairs = torch.tensor([[6, 2, 0], [0, 2, 0], [0, 0, 0]]).numpy()
    assert agreement(pairs) == 0.8
    assert (iou(pairs, 0), iou(pairs, 1), iou(pairs, 2)) == (6 / 8, 2 / 4, None)
    assert mean_iou(pairs, [0, 1, 2]) == (6 / 8 + 2 / 4) / 2
    assert mean_iou(pairs, [2]) == 1
