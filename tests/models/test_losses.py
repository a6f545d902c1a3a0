import math

import pytest
import torch

from models.losses import divergence, masked_cross_entropy, unlabelled_divergence


def test_cross_entropy_by_hand() -> None:
    # two pixels: p(label) = 1/2 and 3/4
    logits = torch.tensor([[[[0.0, math.log(3.0)]], [[0.0, 0.0]]]])
    labels = torch.tensor([[[1, 0]]])
    assert masked_cross_entropy(logits, labels).item() == pytest.approx((math.log(2) + math.log(4 / 3)) / 2, rel=1e-6)


def test_cross_entropy_leaves_ignored_pixels_out_of_the_mean() -> None:
    logits = torch.tensor([[[[0.0, 50.0]], [[0.0, 0.0]]]])
    assert masked_cross_entropy(logits, torch.tensor([[[1, 255]]])).item() == pytest.approx(math.log(2), rel=1e-6)


def test_cross_entropy_without_a_label_is_zero_with_a_zero_gradient() -> None:
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = masked_cross_entropy(logits, torch.full((1, 2, 2), 255))
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_divergence_by_hand() -> None:
    # KL((3/4, 1/4) ‖ (1/2, 1/2)) = 3/4·log(3/2) + 1/4·log(1/2)
    reference = torch.tensor([[[[0.75]], [[0.25]]]])
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert divergence(torch.zeros(1, 2, 1, 1), reference).item() == pytest.approx(expected, rel=1e-6)


def test_divergence_from_itself_is_zero() -> None:
    logits = torch.randn(2, 5, 3, 3)
    assert divergence(logits, logits.softmax(1)).item() == pytest.approx(0.0, abs=1e-6)


def test_divergence_counts_the_unlabelled_pixels_only_by_hand() -> None:
    logits = torch.zeros(1, 2, 1, 3, requires_grad=True)  # an even chance everywhere
    reference = torch.tensor([[[[0.9, 0.5, 0.9]], [[0.1, 0.5, 0.1]]]])
    labels = torch.tensor([[[255, 255, 0]]])
    apart = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)
    assert float(unlabelled_divergence(logits, reference, labels).detach()) == pytest.approx(apart / 2)


def test_divergence_is_0_where_every_pixel_has_a_label() -> None:
    logits = torch.zeros(1, 2, 1, 2, requires_grad=True)
    loss = unlabelled_divergence(logits, torch.full((1, 2, 1, 2), 0.5), torch.tensor([[[0, 1]]]))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert torch.equal(logits.grad, torch.zeros_like(logits))
