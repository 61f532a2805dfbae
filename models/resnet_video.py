"""The stages of a ResNet over frames, with non-local blocks where they are wanted: C2D, I3D, SLOWONLY and TSM.

Source: the paper's table 1 and section 4. The tables at the top of this file hold what distinguishes the families;
in what the lineages of one family differ stands in `models/lineages.py`.
Legend: N batch, C channels, T frames, H, W.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import paddle
from paddle import nn
from paddle.nn import functional as F

from models.complexity import LayerCost, MapSize
from models.layers import (
    Affine,
    ConvNormReLU,
    Convolution,
    Geometry,
    MaxPool,
    Size3D,
    batch_norm,
    fold_into,
    with_names,
)
from models.lineages import Family, Layers
from models.temporal_shift import TemporalShift

# The number of blocks in res2, res3, res4, res5.
BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
# Output channels of res2 to res5; a bottleneck's inner width is a quarter of it, times RESNETS.width_per_group / 64.
STAGE_CHANNELS = {2: 256, 3: 512, 4: 1024, 5: 2048}
# Temporal extent of conv1, and the blocks of each stage whose first convolution is 3x1x1 (the others are 1x1x1).
CONV1_FRAMES: dict[Family, int] = {"C2D": 1, "I3D": 5, "SLOWONLY": 1, "SLOWFAST": 1, "TSM": 1}
_SLOW_BLOCKS = dict.fromkeys((2, 3), lambda block: False) | dict.fromkeys((4, 5), lambda block: True)
TEMPORAL_BLOCKS: dict[Family, dict[int, Callable[[int], bool]]] = {
    "C2D": dict.fromkeys((2, 3, 4, 5), lambda block: False),
    "SLOWONLY": _SLOW_BLOCKS,
    "SLOWFAST": _SLOW_BLOCKS,  # its slow pathway; the fast one is an I3D with a temporal convolution in every block
    "TSM": dict.fromkeys((2, 3, 4, 5), lambda block: False),
    "I3D": {
        2: lambda block: True,
        3: lambda block: block % 2 == 0,
        4: lambda block: block % 2 == 0,
        5: lambda block: block == 1,
    },
}
NOTHING_JOINED: Mapping[int, int] = MappingProxyType({})
# TSM shifts before every block of R50, and before every second one of R101.
SHIFT_EVERY = {50: 1, 101: 2}
# In R101 the non-local blocks of res4 stand after every 7th block; elsewhere NONLOCAL.layer_mod decides.
NONLOCAL_EVERY = {(101, 4): 7}


def nonlocal_positions(depth: int, stage: int, layer_mod: int, first: int = 1) -> tuple[int, ...]:
    """Return the indices of the residual blocks of a stage that a non-local block follows.

    Args:
        first: 0 where the first block is followed by one, see `NonlocalForm`.

    >>> nonlocal_positions(50, 3, 2), nonlocal_positions(50, 4, 2), nonlocal_positions(101, 4, 2)
    ((1, 3), (1, 3, 5), (6, 13, 20))
    >>> nonlocal_positions(50, 4, 2, first=0)
    (0, 2, 4)
    """
    every = NONLOCAL_EVERY.get((depth, stage), layer_mod) if first else layer_mod
    return tuple(i for i in range(BLOCKS[depth][stage - 2]) if i % every == (every - 1 if first else 0))


def block_name(depth: int, stage: int, block: int) -> str:
    """Return the released name of a residual block: a letter, but in res4 of R101 a number after the first block.

    >>> block_name(50, 4, 2), block_name(101, 4, 0), block_name(101, 4, 22), block_name(101, 3, 1)
    ('4c', '4a', '4b22', '3b')
    """
    if BLOCKS[depth][stage - 2] > 6 and block > 0:
        return f"{stage}b{block}"
    return f"{stage}{chr(ord('a') + block)}"


def conv1_geometry(family: Family, layers: Layers) -> Geometry:
    """Return kernel, stride and padding of conv1."""
    frames = CONV1_FRAMES[family]
    return Geometry((frames, 7, 7), (layers.conv1_stride, 2, 2), (frames // 2, 3, 3))


def pool1_geometry(layers: Layers) -> Geometry:
    """Return kernel, stride and padding of pool1."""
    padding = layers.pool1_padding
    return Geometry((layers.pool1_frames, 3, 3), (layers.pool1_stride, 2, 2), (0, padding, padding))


def res5_size(num_frames: int, crop_size: int, family: Family = "C2D", layers: Layers = Layers()) -> Size3D:  # noqa: B008
    """Return frames, height and width of the res5 map for an input of `num_frames` x `crop_size` x `crop_size`.

    >>> res5_size(8, 224), res5_size(8, 256), res5_size(32, 64)
    ((4, 7, 7), (4, 8, 8), (16, 2, 2))
    """
    size = pool1_geometry(layers).output_size(
        conv1_geometry(family, layers).output_size((num_frames, crop_size, crop_size))
    )
    frames, side = size[0] // 2 if layers.has_pool2 else size[0], size[1]
    for _ in range(3):
        side = (side + 1) // 2  # 3x3, stride 2, pad 1
    return frames, side, side


@dataclass(frozen=True)
class Normalisation:
    """What follows each backbone convolution: BN, or a scale and offset ('affine')."""

    kind: Literal["bn", "affine"] = "bn"
    momentum: float = 0.9
    epsilon: float = 1e-5
    branch_end_scale: float = 0.0  # initial BN scale at the end of a residual branch
    train_affine: bool = False

    def build(self, name: str, channels: int, *, ends_branch: bool = False) -> nn.Layer:
        if self.kind == "affine":
            layer = Affine(channels, trainable=self.train_affine)
            return with_names(layer, scale=f"{name}_scale", offset=f"{name}_offset")
        scale = self.branch_end_scale if ends_branch else 1.0
        return batch_norm(name, channels, momentum=self.momentum, epsilon=self.epsilon, initial_scale=scale)


class Bottleneck(nn.Layer):
    """Convolutions 1x1x1 (or 3x1x1), 1x3x3 and 1x1x1, added to the shortcut. The 1x3x3 has the spatial stride.

    (N, C, T, H, W) to (N, C', T, H / stride, W / stride).

    Args:
        temporal: the first convolution is 3x1x1.
        shift: what the first convolution sees is passed through this.
        prefix: of the saved names.
    """

    def __init__(
        self,
        name: str,
        in_channels: int,
        inner_channels: int,
        out_channels: int,
        *,
        stride: int,
        temporal: bool,
        groups: int,
        norm: Normalisation,
        shift: nn.Layer | None = None,
        prefix: str = "",
    ) -> None:
        super().__init__()
        self.shift = shift
        spatial = (1, stride, stride)
        frames = 3 if temporal else 1
        res, bn = f"{prefix}res{name}_branch", f"{prefix}bn{name}_branch"
        self.branch2a = Convolution(
            f"{res}2a", in_channels, inner_channels, (frames, 1, 1), padding=(frames // 2, 0, 0)
        )
        self.bn2a = norm.build(f"{bn}2a", inner_channels)
        self.branch2b = Convolution(
            f"{res}2b", inner_channels, inner_channels, (1, 3, 3), stride=spatial, padding=(0, 1, 1), groups=groups
        )
        self.bn2b = norm.build(f"{bn}2b", inner_channels)
        self.branch2c = Convolution(f"{res}2c", inner_channels, out_channels, (1, 1, 1))
        self.bn2c = norm.build(f"{bn}2c", out_channels, ends_branch=True)
        self.has_projection = stride != 1 or in_channels != out_channels
        if self.has_projection:
            self.branch1 = Convolution(f"{res}1", in_channels, out_channels, (1, 1, 1), stride=spatial)
            self.bn1 = norm.build(f"{bn}1", out_channels)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        branch = F.relu_(self.bn2a(self.branch2a(x if self.shift is None else self.shift(x))))
        branch = F.relu_(self.bn2b(self.branch2b(branch)))
        branch = self.bn2c(self.branch2c(branch))
        shortcut = self.bn1(self.branch1(x)) if self.has_projection else x
        return F.relu_(branch + shortcut)

    def cost(self, size: MapSize) -> LayerCost:
        """Return what the block costs: of each branch convolution and its BN and ReLU both results are kept."""
        shortcut = self.branch1.cost(size) if self.has_projection else LayerCost(size)
        first = self.branch2a.cost(size)
        second = self.branch2b.cost(first.output)
        last = self.branch2c.cost(second.output)
        return LayerCost(
            last.output,
            macs=shortcut.macs + first.macs + second.macs + last.macs,
            kept=2 * first.kept + 2 * second.kept + (3 if self.has_projection else 2) * last.kept,
            is_block=True,
        )

    def fold_normalisation(self) -> None:
        """Fold the normalisation after each convolution into it."""
        self.bn2a = fold_into(self.branch2a, self.bn2a)
        self.bn2b = fold_into(self.branch2b, self.bn2b)
        self.bn2c = fold_into(self.branch2c, self.bn2c)
        if self.has_projection:
            self.bn1 = fold_into(self.branch1, self.bn1)


def resnet_stages(
    depth: int,
    family: Family,
    layers: Layers,
    *,
    width_mult: float,
    num_groups: int,
    width_per_group: int,
    norm: Normalisation,
    make_nonlocal: Callable[[int, int, int], nn.Layer | None] = lambda stage, block, channels: None,
    joined_channels: Mapping[int, int] = NOTHING_JOINED,
    prefix: str = "",
) -> dict[str, list[nn.Layer]]:
    """Build conv1 to res5: (N, 3, T, H, W), normalised, to (N, 2048 * width_mult, T / 2, H / 32, W / 32).

    =====  ==================================  ====================  =================================
    stage  layers                              output of 8x224x224   with `layers` as released, width 1
    =====  ==================================  ====================  =================================
    conv1  1x7x7 (I3D 5x7x7), BN, ReLU         (64, 8, 112, 112)
    pool1  1x3x3                               (64, 8, 55, 55)
    res2   3 bottlenecks                       (256, 8, 55, 55)
    pool2  2x1x1                               (256, 4, 55, 55)      not in SLOWONLY and TSM
    res3   4 bottlenecks                       (512, 4, 28, 28)      non-local blocks between them
    res4   6 bottlenecks (R101: 23)            (1024, 4, 14, 14)     non-local blocks between them
    res5   3 bottlenecks                       (2048, 4, 7, 7)
    =====  ==================================  ====================  =================================

    Args:
        depth: 50 or 101.
        family: a column of the tables above.
        layers: of the lineage.
        width_mult: scales every channel count.
        num_groups, width_per_group: of the 3x3 convolutions.
        make_nonlocal: (stage, block index, channels) to the layer that follows this residual block, or None.
        joined_channels: by stage, channels that come to its input from elsewhere.
        prefix: of the saved names.
    """
    channels = scale_width(64, width_mult)
    conv1, pool1 = conv1_geometry(family, layers), pool1_geometry(layers)
    stem = Convolution(f"{prefix}conv1", 3, channels, conv1.kernel, stride=conv1.stride, padding=conv1.padding)
    stages: dict[str, list[nn.Layer]] = {
        "conv1": [ConvNormReLU(stem, norm.build(f"{prefix}bn_conv1", channels))],
        "pool1": [MaxPool(pool1.kernel, stride=pool1.stride, padding=pool1.padding)],
    }
    for stage, num_blocks in zip((2, 3, 4, 5), BLOCKS[depth], strict=True):
        out_channels = scale_width(STAGE_CHANNELS[stage], width_mult)
        inner_channels = scale_width(num_groups * width_per_group * 2 ** (stage - 2), width_mult)
        members: list[nn.Layer] = []
        for block in range(num_blocks):
            is_shifted = layers.shift and block % SHIFT_EVERY[depth] == 0
            members.append(
                Bottleneck(
                    block_name(depth, stage, block),
                    channels + (joined_channels.get(stage, 0) if block == 0 else 0),
                    inner_channels,
                    out_channels,
                    stride=2 if block == 0 and stage > 2 else 1,
                    temporal=layers.all_temporal or TEMPORAL_BLOCKS[family][stage](block),
                    groups=num_groups,
                    norm=norm,
                    shift=TemporalShift(channels, layers.shift) if is_shifted else None,
                    prefix=prefix,
                )
            )
            channels = out_channels
            nonlocal_layer = make_nonlocal(stage, block, channels)
            if nonlocal_layer is not None:
                members.append(nonlocal_layer)
        stages[f"res{stage}"] = members
        if stage == 2 and layers.has_pool2:
            stages["pool2"] = [MaxPool((2, 1, 1), stride=(2, 1, 1))]
    return stages


def scale_width(channels: int, width_mult: float) -> int:
    """Return `channels` times `width_mult`, rounded, at least 1.

    >>> scale_width(64, 0.25), scale_width(64, 0.3)
    (16, 19)
    """
    return max(1, round(channels * width_mult))
