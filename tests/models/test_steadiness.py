"""The standard error of a drop of class consistency, by hand."""

from dataclasses import replace

import pytest
import torch

from models.comparison import Comparison, Views
from models.guard import GuardLimits, judge
from models.steadiness import class_consistency_drop, class_consistency_error

NAMES = ("background", "cat", "dog")
Photo = tuple[list[int], list[int]]
"""A row of labels, and what both other views say of it after training; before, they say the same."""


def view(labels: list[int], others: list[int]) -> Views:
    index = torch.tensor(labels)
    probabilities = torch.full((1, 3, 1, len(labels)), 0.01)
    probabilities[0, index, 0, torch.arange(len(labels))] = 0.98
    other = torch.tensor(others)[None, None]
    return Views(probabilities, other, other)


def comparison_of(*photos: Photo) -> Comparison:
    comparison = Comparison(3)
    for index, (labels, others) in enumerate(photos):
        comparison.add(view(labels, labels), view(labels, others), photo_id=f"p{index}")
    return comparison


STEADY: Photo = ([0] * 50 + [1] * 50, [0] * 50 + [1] * 50)
UNSTEADY: Photo = ([0] * 50 + [1] * 50, [0] * 60 + [1] * 40)
EMPTY: Photo = ([0] * 100, [0] * 100)
SMALL_CAT: Photo = ([0] * 94 + [1] * 6, [0] * 95 + [1] * 5)


def test_the_error_of_two_photos_is_half_their_difference() -> None:
    drop = 1 - (50 / 60 + 40 / 50) / 2  # of the second photo alone; the first one's is 0
    assert class_consistency_error(comparison_of(STEADY, UNSTEADY)) == pytest.approx(drop / 2)


def test_the_drop_is_the_one_that_the_guard_s_figures_tell() -> None:
    comparison = comparison_of(STEADY, UNSTEADY, SMALL_CAT)
    total, figures = comparison.total, comparison.figures()
    drop = class_consistency_drop(
        [total.mirror_before, total.rescale_before], [total.mirror_after, total.rescale_after], total.shown_by_both()
    )
    assert drop == pytest.approx(figures["class_consistency_before"] - figures["class_consistency_after"])


def test_photos_that_all_say_the_same_leave_nothing_to_chance() -> None:
    assert class_consistency_error(comparison_of(*[UNSTEADY] * 5)) == pytest.approx(0.0)


def test_without_photos_told_apart_nothing_is_known_of_chance() -> None:
    whole = Comparison(3)
    whole.add(view(STEADY[0], STEADY[0]), view(*UNSTEADY))
    assert class_consistency_error(whole) is None
    assert class_consistency_error(comparison_of(UNSTEADY)) is None
    assert "class_consistency_drop_error" not in judge(whole, GuardLimits(), NAMES).figures


def test_an_unsteady_object_of_one_photo_is_chance_and_of_two_is_not() -> None:
    """Nine empty photos and one cat: without its photo there is no drop, so the error is 0.9 of the drop."""
    one = judge(comparison_of(SMALL_CAT, *[EMPTY] * 9), GuardLimits(), NAMES)
    drop = one.figures["class_consistency_before"] - one.figures["class_consistency_after"]
    assert drop == pytest.approx((1 / 6 + 1 - 994 / 995) / 2, abs=1e-3)
    assert one.figures["class_consistency_drop_error"] == pytest.approx(0.9 * drop, abs=1e-3)
    assert one.code == "accepted"
    two = judge(comparison_of(SMALL_CAT, SMALL_CAT, *[EMPTY] * 8), GuardLimits(), NAMES)
    assert two.code == "unsteady_classes"


def test_chance_can_be_left_out_of_account() -> None:
    one = comparison_of(SMALL_CAT, *[EMPTY] * 9)
    assert judge(one, replace(GuardLimits(), class_consistency_errors=0.0), NAMES).code == "unsteady_classes"
