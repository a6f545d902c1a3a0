"""ESPNetv2 for segmentation (Mehta et al., arXiv 1811.11431), with `width` the paper's scale s.

Encoder: EESP units (paper, section 3.2, figure 1): grouped 1x1 reduction, depth-wise dilated 3x3 branches whose outputs are added
hierarchically (HFF), grouped 1x1 expansion, residual. Strided units keep an average-pooled copy of the input and a thumbnail of the
photo (section 3.3, "shortcut connection to an input image"). Decoder: efficient pyramid pooling, bottom-up (arXiv 1906.03516,
section 3), fused at each stride with gated projections of the encoder's maps.

The module names are ours; `from_edgenets` renames the weights published by the authors under MIT.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from models.bases.layers import PReLU, affine_prelu, can_fold, convolve, folded, prelu, scale_and_shift
from models.bases.network import BaseNetwork
from models.types import Features

BRANCHES = 4  # K of the EESP unit (1811.11431, section 3.2)
STAGE_REPEATS = (3, 7)  # EESP units after the strided one, at strides 8 and 16 (table 1)
PYRAMID_SCALES = (2.0, 1.5, 1.0, 0.5, 0.1)  # 1906.03516, section 3
RECEPTIVE_LIMIT = {"down4": 13, "down8": 11, "stage8": 9, "down16": 9, "stage16": 7}  # largest effective kernel of a branch, pixels
DECODER_UNIT = 16  # channels; the decoder is 4, 3 and 2 units wide
MIN_PYRAMID_SIDE = 5  # positions; the smallest map that a pyramid level works on


def encoder_channels(width: float) -> tuple[int, int, int, int]:
    """Channels at strides 2, 4, 8, 16 for the paper's scale s = `width` (table 1)."""
    stem = 16 if width <= 0.5 else 32
    return (stem, int(64 * width), int(128 * width), int(256 * width))


class ConvNormAct(nn.Sequential):
    """Convolution without bias, batch norm, PReLU; `act=False` leaves the PReLU out."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, *, stride: int = 1, groups: int = 1, act: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        if act:
            self.act = PReLU(outputs)

    def forward(self, x: Float[Tensor, "images inputs h w"]) -> Float[Tensor, "images outputs h2 w2"]:
        """The three in turn, in evaluation mode as one convolution and a PReLU."""
        if not can_fold(self.norm, x):
            return super().forward(x)  # type: ignore[no-any-return, no-untyped-call]
        weight, bias = folded(self.conv, self.norm)
        x = convolve(x, weight, bias, stride=self.conv.stride[0], groups=self.conv.groups)
        return prelu(x, self.act.weight) if len(self) == 3 else x


class NormAct(nn.Sequential):
    """Batch norm, PReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.act = PReLU(channels)

    def forward(self, x: Float[Tensor, "images channels h w"]) -> Float[Tensor, "images channels h w"]:
        """Both in turn, in evaluation mode in one go."""
        if not can_fold(self.norm, x):
            return super().forward(x)  # type: ignore[no-any-return, no-untyped-call]
        return affine_prelu(x, *scale_and_shift(self.norm), self.act.weight)


def branch_dilations(receptive_limit: int) -> list[int]:
    """Dilations of the branches: kernels 3, 5, 7, 9 where the limit admits them, 3 elsewhere; ascending."""
    kernels = sorted(k if (k := 3 + 2 * branch) <= receptive_limit else 3 for branch in range(BRANCHES))
    return [(kernel - 1) // 2 for kernel in kernels]


class Depthwise(nn.Conv2d):
    """A 3×3 depth-wise convolution without bias."""

    def __init__(self, channels: int, stride: int, dilation: int) -> None:
        super().__init__(channels, channels, 3, stride, padding=dilation, dilation=dilation, groups=channels, bias=False)

    def forward(self, input: Float[Tensor, "images channels h w"]) -> Float[Tensor, "images channels h2 w2"]:
        """As torch's."""
        return convolve(input, self.weight, stride=self.stride[0], dilation=self.dilation[0], groups=self.groups)


class EESP(nn.Module):
    """Extremely efficient spatial pyramid unit (1811.11431, figure 1c); stride 2 returns the expansion without residual and act."""

    def __init__(self, inputs: int, outputs: int, receptive_limit: int, stride: int = 1) -> None:
        super().__init__()
        reduced = outputs // BRANCHES
        self.reduce = ConvNormAct(inputs, reduced, groups=BRANCHES)
        self.branches = nn.ModuleList(Depthwise(reduced, stride, dilation) for dilation in branch_dilations(receptive_limit))
        self.fuse = NormAct(outputs)
        self.expand = ConvNormAct(outputs, outputs, groups=BRANCHES, act=False)
        self.act = PReLU(outputs)
        self.residual = stride == 1

    def forward(self, x: Float[Tensor, "images channels h w"]) -> Float[Tensor, "images out_channels h2 w2"]:
        """Reduce, branch, add hierarchically, expand; stride 2 halves the map."""
        reduced = self.reduce(x)
        maps: list[Tensor] = []
        for branch in self.branches:
            out = branch(reduced)
            maps.append(out + maps[-1] if maps else out)  # HFF
        expanded: Tensor = self.expand(self.fuse(torch.cat(maps, 1)))
        return self.act(expanded + x) if self.residual else expanded


class Downsample(nn.Module):
    """Strided EESP beside an average pool, plus a thumbnail of the photo (1811.11431, section 3.3, figure 2)."""

    def __init__(self, inputs: int, outputs: int, receptive_limit: int) -> None:
        super().__init__()
        self.eesp = EESP(inputs, outputs - inputs, receptive_limit, stride=2)
        self.photo = nn.Sequential(ConvNormAct(3, 3, 3), ConvNormAct(3, outputs, act=False))
        self.act = PReLU(outputs)

    def forward(
        self, x: Float[Tensor, "images channels h w"], thumbnail: Float[Tensor, "images 3 h2 w2"]
    ) -> Float[Tensor, "images out_channels h2 w2"]:
        """Half the map of `x`; `thumbnail` is the photo, already pooled to the result's size."""
        pooled = F.avg_pool2d(x, 3, stride=2, padding=1)
        out: Tensor = self.act(torch.cat([pooled, self.eesp(x)], 1) + self.photo(thumbnail))
        return out


class PyramidPool(nn.Module):
    """Efficient pyramid pooling (1906.03516, section 3): depth-wise 3x3 at five scales of a slim projection, shuffled and merged."""

    def __init__(self, inputs: int, slim: int, outputs: int, *, last: bool = False) -> None:
        super().__init__()
        levels = len(PYRAMID_SCALES)
        self.project = ConvNormAct(inputs, slim)
        self.levels = nn.ModuleList(nn.Conv2d(slim, slim, 3, padding=1, groups=slim, bias=False) for _ in range(levels))
        self.fuse = NormAct(slim * levels)
        self.merge = ConvNormAct(slim * levels, slim, 3, groups=slim)
        self.out = nn.Conv2d(slim, outputs, 1, bias=last)
        self.act = nn.Identity() if last else NormAct(outputs)

    def forward(self, x: Float[Tensor, "images channels h w"]) -> Float[Tensor, "images out_channels h w"]:
        """The map pooled at all scales and merged, at its own size."""
        x = self.project(x)
        maps = [self._at_scale(x, level, scale) for level, scale in zip(self.levels, PYRAMID_SCALES, strict=True)]
        if can_fold(self.fuse.norm, x) and can_fold(self.merge.norm, x):
            merged = self._merged(maps)
        else:
            merged = self.merge(F.channel_shuffle(self.fuse(torch.cat(maps, 1)), len(PYRAMID_SCALES)))
        out: Tensor = self.act(convolve(merged, self.out.weight, self.out.bias))
        return out

    def _merged(self, maps: Sequence[Float[Tensor, "images slim h w"]]) -> Float[Tensor, "images slim h w"]:
        """Fuse, shuffle, merge, level by level: group s of the merging convolution sees channel s of every level."""
        fuse = zip(*(values.chunk(len(maps)) for values in (*scale_and_shift(self.fuse.norm), self.fuse.act.weight)), strict=True)
        weight, bias = folded(self.merge.conv, self.merge.norm)
        total = None
        for level, (map_, values) in enumerate(zip(maps, fuse, strict=True)):
            part = convolve(affine_prelu(map_, *values), weight[:, level, None], bias if level == 0 else None, groups=len(weight))
            total = part if total is None else total + part
        assert total is not None
        return prelu(total, self.merge.act.weight)

    @staticmethod
    def _at_scale(x: Tensor, level: nn.Module, scale: float) -> Tensor:
        size = (x.shape[2], x.shape[3])
        scaled = (max(MIN_PYRAMID_SIDE, math.ceil(size[0] * scale)), max(MIN_PYRAMID_SIDE, math.ceil(size[1] * scale)))
        if scale == 1.0:
            return level(x)  # type: ignore[no-any-return]
        if scale < 1.0:
            return _resize(level(F.adaptive_avg_pool2d(x, scaled)), size)
        return F.adaptive_avg_pool2d(level(_resize(x, scaled)), size)


class GatedProjection(nn.Module):
    """Grouped 3x3 projection of an encoder map, gated per channel by its own global average."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.gate = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.project = ConvNormAct(inputs, outputs, 3, groups=math.gcd(inputs, outputs))

    def forward(self, x: Float[Tensor, "images channels h w"]) -> Float[Tensor, "images out_channels h w"]:
        """The projected map times its gate."""
        gate = torch.sigmoid(self.gate(F.adaptive_avg_pool2d(x, 1)))
        return self.project(x) * gate  # type: ignore[no-any-return]


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


class ESPNetv2(BaseNetwork):
    """Segmentation network; `forward` gives the features that the context module reads beside its own logits.

    Input: ImageNet-normalised RGB (images, 3, H, W), H and W any multiple of 16. Logits: (images, classes, H/2, W/2).
    """

    def __init__(self, width: float = 2.0, classes: int = 21) -> None:
        super().__init__()
        c2, c4, c8, c16 = encoder_channels(width)
        self.stem = ConvNormAct(3, c2, 3, stride=2)
        self.down4 = Downsample(c2, c4, RECEPTIVE_LIMIT["down4"])
        self.down8 = Downsample(c4, c8, RECEPTIVE_LIMIT["down8"])
        self.stage8 = nn.Sequential(*(EESP(c8, c8, RECEPTIVE_LIMIT["stage8"]) for _ in range(STAGE_REPEATS[0])))
        self.down16 = Downsample(c8, c16, RECEPTIVE_LIMIT["down16"])
        self.stage16 = nn.Sequential(*(EESP(c16, c16, RECEPTIVE_LIMIT["stage16"]) for _ in range(STAGE_REPEATS[1])))

        d16, d8, d4 = 4 * DECODER_UNIT, 3 * DECODER_UNIT, 2 * DECODER_UNIT
        slim = min(classes // 2, DECODER_UNIT)
        self.pool16 = PyramidPool(c16, slim, d16)
        self.pool8 = PyramidPool(d16, slim, d8)
        self.pool4 = PyramidPool(d8, slim, d4)
        self.pool2 = PyramidPool(d4, slim, classes, last=True)
        self.skip8, self.skip4, self.skip2 = GatedProjection(c8, d16), GatedProjection(c4, d8), GatedProjection(c2, d4)
        self.join8, self.join4, self.join2 = NormAct(d16), NormAct(d8), NormAct(d4)

        self.deep_channels, self.fine_channels = c16, c8 + d8

    def forward(self, x: Float[Tensor, "images 3 height width"]) -> Features:
        """Features at strides 16 and 8, and logits at stride 2."""
        thumbnails = [x]
        for _ in range(4):  # strides 2, 4, 8, 16
            thumbnails.append(F.avg_pool2d(thumbnails[-1], 3, stride=2, padding=1))
        e2 = self.stem(x)
        e4 = self.down4(e2, thumbnails[2])
        e8 = self.stage8(self.down8(e4, thumbnails[3]))
        e16 = self.stage16(self.down16(e8, thumbnails[4]))

        d8 = self.pool8(self.join8(self._up(self.pool16(e16), e8) + self.skip8(e8)))
        d4 = self.pool4(self.join4(self._up(d8, e4) + self.skip4(e4)))
        logits = self.pool2(self.join2(self._up(d4, e2) + self.skip2(e2)))
        return Features(deep=e16, fine=torch.cat([e8, d8], 1), logits=logits)

    def load_published(self, state: Mapping[str, Tensor]) -> None:
        """The authors' published names, strictly."""
        self.load_state_dict(from_edgenets(state), strict=True)

    @staticmethod
    def _up(x: Tensor, like: Tensor) -> Tensor:
        return _resize(x, (like.shape[2], like.shape[3]))


_EDGENETS_NAMES: tuple[tuple[str, str], ...] = (
    (r"^base_net\.level1\.", "stem."),
    (r"^base_net\.level2_0\.", "down4."),
    (r"^base_net\.level3_0\.", "down8."),
    (r"^base_net\.level3\.", "stage8."),
    (r"^base_net\.level4_0\.", "down16."),
    (r"^base_net\.level4\.", "stage16."),
    (r"^bu_dec_l1\.", "pool16."),
    (r"^bu_dec_l2\.", "pool8."),
    (r"^bu_dec_l3\.", "pool4."),
    (r"^bu_dec_l4\.", "pool2."),
    (r"^merge_enc_dec_l2\.", "skip8."),
    (r"^merge_enc_dec_l3\.", "skip4."),
    (r"^merge_enc_dec_l4\.", "skip2."),
    (r"^bu_br_l2\.", "join8.br."),
    (r"^bu_br_l3\.", "join4.br."),
    (r"^bu_br_l4\.", "join2.br."),
    (r"\.inp_reinf\.", ".photo."),
    (r"\.proj_1x1\.", ".reduce."),
    (r"\.spp_dw\.(\d)\.conv\.", r".branches.\1."),
    (r"\.br_after_cat\.", ".fuse."),
    (r"\.conv_1x1_exp\.", ".expand."),
    (r"\.module_act\.", ".act."),
    (r"\.stages\.", ".levels."),
    (r"\.projection_layer\.", ".project."),
    (r"\.merge_layer\.0\.", ".fuse."),
    (r"\.merge_layer\.2\.", ".merge."),
    (r"\.merge_layer\.3\.", ".out."),
    (r"\.wt_layer\.1\.", ".gate."),
    (r"\.expansion_layer\.", ".project."),
    (r"^(pool\d+)\.br\.", r"\1.act."),
    (r"\.br\.0\.", ".norm."),
    (r"\.br\.1\.", ".act."),
    (r"\.br\.", "."),
    (r"\.cbr\.0\.", ".conv."),
    (r"\.cbr\.1\.", ".norm."),
    (r"\.cbr\.2\.", ".act."),
    (r"\.bn\.", ".norm."),
)


def from_edgenets(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The authors' published state dict (MIT, © 2021 Sachin Mehta) under this module's names; load it strictly."""
    renamed = {}
    for name, value in published.items():
        for pattern, ours in _EDGENETS_NAMES:
            name = re.sub(pattern, ours, name)
        renamed[name] = value
    return renamed
