import math

import pytest
import torch

from models.adversarial import SOURCE, TARGET, Discriminator, discriminator_step, domain_loss, fooling_loss, weighted_self_information


def test_self_information_by_hand() -> None:
    # K = 4, p = (1/2, 1/4, 1/8, 1/8): -p·log2(p) = (1/2, 1/2, 3/8, 3/8), divided by log2(4) = 2
    logits = torch.tensor([0.5, 0.25, 0.125, 0.125]).log().view(1, 4, 1, 1)
    expected = torch.tensor([0.25, 0.25, 0.1875, 0.1875])
    assert torch.allclose(weighted_self_information(logits).flatten(), expected, atol=1e-6)


def test_self_information_of_a_certain_pixel_is_zero_and_finite() -> None:
    maps = weighted_self_information(torch.tensor([500.0, 0.0]).view(1, 2, 1, 1))
    assert torch.equal(maps.flatten(), torch.zeros(2))


def test_domain_loss_by_hand() -> None:
    # sigmoid(log 3) = 3/4
    answer = torch.full((1, 1, 1, 2), math.log(3.0))
    assert domain_loss(answer, SOURCE).item() == pytest.approx(-math.log(0.75), rel=1e-6)
    assert domain_loss(answer, TARGET).item() == pytest.approx(-math.log(0.25), rel=1e-6)


def test_the_discriminator_is_the_published_one() -> None:
    discriminator = Discriminator(21)
    shapes = [tuple(p.shape) for p in discriminator.parameters() if p.dim() == 4]
    assert shapes == [(64, 21, 4, 4), (128, 64, 4, 4), (256, 128, 4, 4), (512, 256, 4, 4), (1, 512, 4, 4)]
    assert discriminator(torch.zeros(2, 21, 64, 96)).shape == (2, 1, 2, 3)
    assert [module.negative_slope for module in discriminator if hasattr(module, "negative_slope")] == [0.2] * 4
    assert discriminator.optimizer().defaults["lr"] == 1e-4
    assert discriminator.optimizer().defaults["betas"] == (0.9, 0.99)


def test_fooling_moves_the_maps_and_not_the_discriminator() -> None:
    torch.manual_seed(0)
    discriminator, maps = Discriminator(3), torch.rand(1, 3, 32, 32, requires_grad=True)
    loss = fooling_loss(discriminator, maps)
    loss.backward()
    assert loss.item() == pytest.approx(domain_loss(discriminator(maps), SOURCE).item(), rel=1e-6)
    assert maps.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in discriminator.parameters())


def test_a_discriminator_learns_to_tell_two_kinds_of_maps() -> None:
    torch.manual_seed(0)
    discriminator = Discriminator(3)
    optimizer = discriminator.optimizer()
    source, target = torch.zeros(1, 3, 32, 32), torch.rand(1, 3, 32, 32, requires_grad=True)
    first = discriminator_step(discriminator, optimizer, source, target)
    losses = [discriminator_step(discriminator, optimizer, source, target) for _ in range(10)]
    assert first == pytest.approx(math.log(2), abs=0.05)
    assert losses[-1] < first
    assert target.grad is None
