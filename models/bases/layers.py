"""The layers of a small network on a CPU, computed the fast way: the same values as torch's own modules but for the order of float sums.

PyTorch's kernels for a few of ESPNetv2's layers are slow on a CPU (docs/decisions/0025): the gradient of PReLU, both gradients of a strided
and dilated depth-wise convolution, batch norm whose statistics are frozen, grouped convolutions of a handful of channels. What has to do
with batch norm is for evaluation mode: `can_fold` says where that holds, and the networks use torch's batch norm elsewhere.

Maps are (images, channels, h, w) in channels_last order; a *row* of one holds w·channels values, so that per-channel values tiled w times
meet long inner loops.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

FEW_CHANNELS = 8
"""Groups of at most so many input channels: the product with zeros between the groups is the faster one."""


def can_fold(norm: nn.BatchNorm2d, x: Tensor) -> bool:
    """Whether batch norm is a fixed scale and shift here, on a CPU, and nobody listens to its input."""
    return not norm.training and x.device.type == "cpu" and not norm._forward_pre_hooks and not norm._forward_hooks


def scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Float[Tensor, " channels"], Float[Tensor, " channels"]]:
    """Batch norm in evaluation mode is x·scale + shift; both carry the gradients of its weight and bias."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Float[Tensor, "out in kh kw"], Float[Tensor, " out"]]:
    """Weight and bias of the one convolution that does what a convolution without bias and a batch norm do."""
    scale, shift = scale_and_shift(norm)
    return conv.weight * scale[:, None, None, None], shift


def convolve(
    x: Float[Tensor, "images in h w"],
    weight: Float[Tensor, "out group_in kh kw"],
    bias: Float[Tensor, " out"] | None = None,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
) -> Float[Tensor, "images out h2 w2"]:
    """A convolution padded so that stride 1 keeps the size."""
    kernel = weight.shape[2]
    if kernel == 1 and stride == 1:
        return _by_matrix(x.permute(0, 2, 3, 1), weight[:, :, 0, 0], bias, groups).permute(0, 3, 1, 2)
    if stride > 1 and dilation > 1 and groups == x.shape[1] == weight.shape[0] and bias is None and x.device.type == "cpu":
        out: Tensor = _StridedDepthwise.apply(x, weight, stride, dilation)  # type: ignore[no-untyped-call]
        return out
    return F.conv2d(x, weight, bias, stride, dilation * (kernel // 2), dilation, groups)


def _by_matrix(
    x: Float[Tensor, "images h w in"], weight: Float[Tensor, "out group_in"], bias: Float[Tensor, " out"] | None, groups: int
) -> Float[Tensor, "images h w out"]:
    """A 1×1 convolution as matrix products: one for each group, or, for groups of a few channels, one with zeros between the groups."""
    if groups == 1:
        return F.linear(x, weight, bias)
    if weight.shape[1] <= FEW_CHANNELS:
        return F.linear(x, torch.block_diag(*weight.chunk(groups)), bias)  # type: ignore[no-untyped-call]
    places = x.shape[0] * x.shape[1] * x.shape[2]
    by_group = x.reshape(places, groups, -1).transpose(0, 1)  # (G, P, in / G)
    out = torch.bmm(by_group, weight.view(groups, -1, weight.shape[1]).transpose(1, 2)).transpose(0, 1).reshape(*x.shape[:3], -1)
    return out if bias is None else out.add_(bias)


class _StridedDepthwise(torch.autograd.Function):
    """A strided, dilated depth-wise convolution; both gradients go tap by tap of the kernel, each one product of maps."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.dilation = stride, dilation
        return F.conv2d(x, weight, None, stride, dilation * (weight.shape[2] // 2), dilation, x.shape[1])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, weight = ctx.saved_tensors
        stride, dilation, kernel = ctx.stride, ctx.dilation, weight.shape[2]
        padding = dilation * (kernel // 2)
        arrived = gradient.permute(0, 2, 3, 1)  # (B, h2, w2, C)
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, padding, padding, padding, padding))  # (B, h + 2·padding, w + 2·padding, C)
        to_padded, to_weight = torch.zeros_like(padded), torch.empty_like(weight)
        for row in range(kernel):
            rows = _places(row * dilation, stride, arrived.shape[1])
            for column in range(kernel):
                place = (slice(None), rows, _places(column * dilation, stride, arrived.shape[2]))
                to_padded[place].addcmul_(arrived, weight[:, 0, row, column])
                to_weight[:, 0, row, column] = _channel_sum(arrived * padded[place])
        inside = to_padded[:, padding : padding + x.shape[2], padding : padding + x.shape[3]]
        return inside.permute(0, 3, 1, 2), to_weight, None, None


def _places(first: int, step: int, count: int) -> slice:
    return slice(first, first + step * (count - 1) + 1, step)


class PReLU(nn.PReLU):
    """torch's, with a faster gradient on a CPU."""

    def forward(self, input: Float[Tensor, "images channels h w"]) -> Float[Tensor, "images channels h w"]:
        """The activation."""
        return prelu(input, self.weight) if input.device.type == "cpu" else super().forward(input)


def prelu(x: Float[Tensor, "images channels h w"], slope: Float[Tensor, " channels"]) -> Float[Tensor, "images channels h w"]:
    """x where it is positive, slope·x elsewhere."""
    out: Tensor = _PReLU.apply(x, slope)  # type: ignore[no-untyped-call]
    return out


class _PReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x, slope)
        return F.prelu(x, slope)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, slope = ctx.saved_tensors
        to_x, to_slope = _through_prelu(_rows(gradient), _rows(x), slope)
        return _as_map(to_x, x), to_slope


def affine_prelu(
    x: Float[Tensor, "images channels h w"],
    scale: Float[Tensor, " channels"],
    shift: Float[Tensor, " channels"],
    slope: Float[Tensor, " channels"],
) -> Float[Tensor, "images channels h w"]:
    """PReLU of x·scale + shift; keeps x alone for the way back."""
    out: Tensor = _AffinePReLU.apply(x, scale, shift, slope)  # type: ignore[no-untyped-call]
    return out


class _AffinePReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x, scale, shift, slope)
        return F.prelu(_as_map(_affine(_rows(x), scale, shift), x), slope)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x, scale, shift, slope = ctx.saved_tensors
        rows = _rows(x)
        inner, to_slope = _through_prelu(_rows(gradient), _affine(rows, scale, shift), slope)
        to_scale, to_shift = _columns(inner * rows, len(scale)), _columns(inner, len(scale))
        return _as_map(inner.mul_(_tiled(scale, inner)), x), to_scale, to_shift, to_slope


def _through_prelu(gradient: Tensor, x: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of the gradient before PReLU, and the slope's. Comparing and choosing is slow in torch, a threshold's gradient is not."""
    positive = torch.ops.aten.threshold_backward(gradient, x, 0)
    before = torch.lerp(positive, gradient, _tiled(slope, x))  # positive + slope · (gradient − positive)
    return before, _columns((gradient - positive).mul_(x), len(slope))


def _affine(rows: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return torch.addcmul(_tiled(shift, rows), rows, _tiled(scale, rows))


def _rows(map_: Float[Tensor, "images channels h w"]) -> Float[Tensor, "image_rows row"]:
    """(B·H, W·C): a view where the map is in channels_last order."""
    images, channels, height, width = map_.shape
    return map_.permute(0, 2, 3, 1).reshape(images * height, width * channels)


def _as_map(rows: Tensor, like: Tensor) -> Tensor:
    """`rows` with the shape of the map `like`."""
    images, channels, height, width = like.shape
    return rows.view(images, height, width, channels).permute(0, 3, 1, 2)


def _tiled(values: Float[Tensor, " channels"], rows: Float[Tensor, "image_rows row"]) -> Float[Tensor, " row"]:
    return values.repeat(rows.shape[1] // len(values))


def _columns(rows: Float[Tensor, "image_rows row"], channels: int) -> Float[Tensor, " channels"]:
    """The sum over all places of each channel."""
    return rows.sum(0).view(-1, channels).sum(0)


def _channel_sum(values: Float[Tensor, "images h w channels"]) -> Float[Tensor, " channels"]:
    images, height, width, channels = values.shape
    return _columns(values.reshape(images * height, width * channels), channels)
