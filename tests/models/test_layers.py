"""The fast layers say what torch's own say, in values and in gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.appearance import batch_norm_inputs
from models.bases.espnetv2 import ConvNormAct, ESPNetv2
from models.bases.layers import FEW_CHANNELS, PReLU, affine_prelu, can_fold, convolve, folded, prelu, scale_and_shift

ORDERS = (torch.channels_last, torch.contiguous_format)


def _map(*shape: int, order: torch.memory_format = torch.channels_last) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64).to(memory_format=order).requires_grad_(True)


def _norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels).double().eval()
    assert norm.running_mean is not None and norm.running_var is not None
    with torch.no_grad():
        for values in (norm.weight, norm.bias, norm.running_mean):
            values.normal_()
        norm.running_var.uniform_(0.1, 2)
    return norm


def _same(ours: Tensor, theirs: Tensor, inputs: list[Tensor]) -> None:
    """Equal, and equal in what they send back to each input."""
    torch.testing.assert_close(ours, theirs)
    arriving = torch.randn_like(theirs)
    for mine, other in zip(torch.autograd.grad(ours, inputs, arriving), torch.autograd.grad(theirs, inputs, arriving), strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("order", ORDERS)
def test_prelu(order: torch.memory_format) -> None:
    x, slope = _map(2, 5, 3, 4, order=order), torch.tensor([-0.5, 0.0, 0.25, 1.0, 2.0], dtype=torch.float64, requires_grad=True)
    _same(prelu(x, slope), functional.prelu(x, slope), [x, slope])


def test_prelu_by_hand() -> None:
    # x = −2, 3 with slope 0.5: −1, 3; a gradient of 1 comes back as 0.5, 1; the slope gets −2.
    x, slope = torch.tensor([-2.0, 3.0]).view(1, 1, 1, 2).requires_grad_(True), torch.tensor([0.5], requires_grad=True)
    y = prelu(x, slope)
    to_x, to_slope = torch.autograd.grad(y.sum(), (x, slope))
    assert y.flatten().tolist() == [-1.0, 3.0] and to_x.flatten().tolist() == [0.5, 1.0] and to_slope.tolist() == [-2.0]


@pytest.mark.parametrize("order", ORDERS)
def test_norm_and_prelu_in_one_go(order: torch.memory_format) -> None:
    x, norm, act = _map(2, 6, 4, 5, order=order), _norm(6), nn.PReLU(6).double()
    _same(affine_prelu(x, *scale_and_shift(norm), act.weight), act(norm(x)), [x, norm.weight, norm.bias, act.weight])


def test_a_folded_norm_is_the_norm_after_the_convolution() -> None:
    x, conv, norm = _map(2, 4, 5, 5), nn.Conv2d(4, 6, 3, padding=1, groups=2, bias=False).double(), _norm(6)
    weight, bias = folded(conv, norm)
    _same(convolve(x, weight, bias, groups=2), norm(conv(x)), [x, conv.weight, norm.weight, norm.bias])


@pytest.mark.parametrize("groups, inputs", [(1, 6), (2, 2 * FEW_CHANNELS), (2, 2 * FEW_CHANNELS + 2)])
@pytest.mark.parametrize("biased", [True, False])
def test_a_1x1_convolution_is_a_matrix_product(groups: int, inputs: int, biased: bool) -> None:
    x, weight = _map(2, inputs, 3, 4), _map(8, inputs // groups, 1, 1)
    bias = torch.randn(8, dtype=torch.float64, requires_grad=True) if biased else None
    inputs_ = [x, weight] + ([bias] if bias is not None else [])
    _same(convolve(x, weight, bias, groups=groups), functional.conv2d(x, weight, bias, groups=groups), inputs_)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(8, 8), (9, 12), (5, 16)])
def test_depthwise_convolutions(stride: int, dilation: int, size: tuple[int, int]) -> None:
    x, weight = _map(2, 3, *size), _map(3, 1, 3, 3)
    theirs = functional.conv2d(x, weight, None, stride, dilation, dilation, 3)
    _same(convolve(x, weight, stride=stride, dilation=dilation, groups=3), theirs, [x, weight])


def _network() -> ESPNetv2:
    torch.manual_seed(0)
    network: ESPNetv2 = ESPNetv2(width=0.5).double().eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for norm in (module for module in network.modules() if isinstance(module, nn.BatchNorm2d)):
        with torch.no_grad():
            norm.running_mean.normal_(0, 0.2)  # type: ignore[union-attr]
            norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.normal_(0, 0.2)
    return network


def test_the_whole_network_says_what_its_plain_modules_say() -> None:
    network, heard = _network(), []
    x = torch.randn(2, 3, 96, 64, dtype=torch.float64)
    ours = network(x)
    with batch_norm_inputs(network, lambda layer, values: heard.append(layer)):  # who listens makes every module a plain one
        theirs = network(x)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(heard) == len(norms) and set(heard) == set(norms)
    torch.testing.assert_close(ours.deep, theirs.deep)
    torch.testing.assert_close(ours.fine, theirs.fine)
    used = list(network.parameters())
    arriving = torch.randn_like(theirs.logits)
    mine = torch.autograd.grad(ours.logits, used, arriving, allow_unused=True)
    other = torch.autograd.grad(theirs.logits, used, arriving, allow_unused=True)
    for one, two in zip(mine, other, strict=True):
        assert (one is None) == (two is None)
        if one is not None and two is not None:
            torch.testing.assert_close(one, two)


def test_statistics_that_are_learned_are_not_folded() -> None:
    layer = ConvNormAct(3, 4).train()
    before = layer.norm.running_mean.clone()  # type: ignore[union-attr]
    x = torch.randn(2, 3, 5, 5)
    assert not can_fold(layer.norm, x)
    torch.testing.assert_close(
        layer(x), layer.act(functional.batch_norm(layer.conv(x), None, None, layer.norm.weight, layer.norm.bias, True))
    )
    assert not torch.equal(layer.norm.running_mean, before)  # type: ignore[arg-type]


def test_the_weights_are_those_of_torchs_prelu() -> None:
    assert list(PReLU(3).state_dict()) == list(nn.PReLU(3).state_dict())
