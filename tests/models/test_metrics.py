import inspect

import numpy as np
import pytest

from models.metrics import Scorer, class_iou, confusion, foreground_iou, mean_iou

LABEL = np.array([[0, 0], [1, 255]], dtype=np.uint8)
PREDICTION = np.array([[0, 1], [1, 2]], dtype=np.uint8)


def test_confusion_counts_label_by_row_and_leaves_ignored_pixels_out() -> None:
    assert confusion(PREDICTION, LABEL, 3).tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_iou_by_hand() -> None:
    # background: TP 1, FN 1 (the pixel called 1), FP 0 → 1/2; class 1: TP 1, FP 1 → 1/2
    matrix = confusion(PREDICTION, LABEL, 3)
    assert class_iou(matrix) == {0: 0.5, 1: 0.5}
    assert mean_iou(matrix) == 0.5


def test_a_class_that_occurs_in_no_label_is_not_averaged_but_costs_the_class_it_displaces() -> None:
    matrix = confusion(np.array([[2, 0]], dtype=np.uint8), np.array([[0, 0]], dtype=np.uint8), 3)
    assert class_iou(matrix) == {0: 0.5}


def test_mean_iou_without_a_labelled_pixel_is_nan() -> None:
    assert np.isnan(mean_iou(confusion(PREDICTION, np.full((2, 2), 255, dtype=np.uint8), 3)))


def test_foreground_iou_by_hand() -> None:
    # either calls foreground: the pixel called 1 where the label is 0, and the right one → 1/2
    assert foreground_iou(PREDICTION, LABEL) == 0.5


def test_foreground_iou_counts_the_wrong_class_as_wrong() -> None:
    assert foreground_iou(np.array([[2]], dtype=np.uint8), np.array([[1]], dtype=np.uint8)) == 0.0


def test_foreground_iou_of_an_image_without_foreground_is_left_out() -> None:
    empty = np.zeros((2, 2), dtype=np.uint8)
    assert foreground_iou(empty, empty) is None
    scorer = Scorer(3)
    scorer.add(empty, empty)
    scorer.add(PREDICTION, LABEL)
    assert scorer.fbiou == 50.0


def test_foreground_iou_ignores_255_on_both_sides() -> None:
    prediction = np.array([[255, 1, 1]], dtype=np.uint8)
    label = np.array([[1, 255, 1]], dtype=np.uint8)
    assert foreground_iou(prediction, label) == 1.0


def test_scorer_adds_images_into_one_matrix() -> None:
    scorer = Scorer(3)
    scorer.add(PREDICTION, LABEL)
    scorer.add(LABEL[:1], LABEL[:1])
    assert scorer.miou == pytest.approx(100 * (3 / 4 + 1 / 2) / 2)


def test_scorer_refuses_another_size() -> None:
    """Also where nobody checks the annotated shapes, as these tests do."""
    unchecked = inspect.unwrap(Scorer.add)
    with pytest.raises(ValueError, match="label's own size"):
        unchecked(Scorer(3), PREDICTION[:1], LABEL)
