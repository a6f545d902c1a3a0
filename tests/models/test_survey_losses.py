import math

import pytest
import torch

from models.losses import entropy_loss, max_square_loss, pixel_entropy, robust_entropy_loss, soft_cross_entropy

QUARTERS = torch.tensor([0.75, 0.25]).log().view(1, 2, 1, 1)  # logits of p = (3/4, 1/4)
ENTROPY = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))  # 0.5623 nats


def test_entropy_by_hand() -> None:
    assert pixel_entropy(QUARTERS).item() == pytest.approx(ENTROPY, rel=1e-6)
    assert entropy_loss(QUARTERS).item() == pytest.approx(ENTROPY / math.log(2), rel=1e-6)


def test_entropy_is_one_where_all_classes_are_equal_and_zero_where_one_is_certain() -> None:
    assert entropy_loss(torch.zeros(1, 5, 2, 2)).item() == pytest.approx(1.0, rel=1e-6)
    assert entropy_loss(torch.tensor([100.0, 0.0]).view(1, 2, 1, 1)).item() == pytest.approx(0.0, abs=1e-6)


def test_robust_entropy_by_hand() -> None:
    x = ENTROPY / math.log(2)
    assert robust_entropy_loss(QUARTERS).item() == pytest.approx((x**2 + 1e-6) ** 2, rel=1e-5)
    assert robust_entropy_loss(QUARTERS, eta=0.5).item() == pytest.approx(math.sqrt(x**2 + 1e-6), rel=1e-5)


def test_max_square_without_balance_is_half_the_mean_of_the_squares() -> None:
    # (9/16 + 1/16) / 2 = 5/16
    assert max_square_loss(QUARTERS, balance=0.0).item() == pytest.approx(-5 / 16, rel=1e-6)


def test_max_square_gives_rare_classes_more_weight() -> None:
    # four pixels, p = (3/4, 1/4) three times and (1/4, 3/4) once: N = 4, N_c = 3, 3, 3, 1; alpha = 1/2
    logits = torch.cat([QUARTERS, QUARTERS, QUARTERS, QUARTERS.flip(1)], 3)
    expected = -(3 / math.sqrt(3 * 4) + 1 / math.sqrt(1 * 4)) * (5 / 8) / 2
    assert max_square_loss(logits, balance=0.5).item() == pytest.approx(expected, rel=1e-6)


def test_max_square_is_a_mean_over_images() -> None:
    assert max_square_loss(QUARTERS.repeat(3, 1, 1, 1)).item() == pytest.approx(max_square_loss(QUARTERS).item(), rel=1e-6)


def test_soft_cross_entropy_by_hand() -> None:
    reference = torch.tensor([0.5, 0.5]).view(1, 2, 1, 1)
    assert soft_cross_entropy(QUARTERS, reference).item() == pytest.approx(-(math.log(0.75) + math.log(0.25)) / 2, rel=1e-6)
