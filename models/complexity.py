"""What a network costs, without running it: parameters, multiply-adds and memory of each stage, from its layers.

A multiply-add (MAC) is counted for every product of a convolution, of the classifier and of the two matrix products of
a non-local block; normalisation, activations, pooling and softmax are not counted, as in the published figures.
Legend: C channels, T frames, H, W; P query positions, M key positions.
"""

from dataclasses import dataclass
from math import prod

import numpy as np
import paddle
from paddle import nn

from configs.schema import Config
from models.layers import Geometry, Size3D
from models.nonlocal_block import NonLocalBlock
from models.nonlocal_model import NonLocalNetwork
from models.registry import build_model
from models.resnet_video import Bottleneck

_FLOAT_BYTES = 4


@dataclass(frozen=True)
class StageCost:
    """One stage, for one clip in float32."""

    name: str
    output: tuple[int, ...]  # (C, T, H, W); of the head (K, T', H', W')
    parameters: int  # learnable
    macs: int
    nonlocal_macs: int  # those of `macs` that non-local blocks make
    output_bytes: int
    affinity_bytes: int  # the largest affinity (or chunk of one) of the stage's non-local blocks, 0 if there is none
    kept_bytes: int  # what a training pass keeps for the backward pass: see `training_bytes_per_clip`
    largest_block_bytes: int  # of that, what the block that keeps most keeps
    num_blocks: int  # blocks that recomputation runs one by one; 0 where there is none


def measure_complexity(config: Config, *, num_frames: int, height: int, width: int) -> list[StageCost]:
    """Cost of the stages of the config's network for one clip of this size, in their order.

    No parameter is allocated.
    """
    with paddle.LazyGuard():
        network = build_model(config)
    if not isinstance(network, NonLocalNetwork):
        raise TypeError(f"no cost model for {type(network).__name__}")
    backbone = network.backbone
    stages = []
    size = (num_frames, height, width)
    for name in ("conv1", "pool1", "res2", "pool2", "res3", "res4", "res5"):
        layers = [backbone.conv1, backbone.bn_conv1] if name == "conv1" else [getattr(backbone, name)]
        cost = _Cost(size, stages[-1].output[0] if stages else 3)
        for layer in layers:
            cost.add(layer)
        size = cost.size
        stages.append(cost.finish(name, layers))
    window = Geometry(network.head.window, (1, 1, 1), (0, 0, 0))
    places = window.output_size(size)
    classes = network.head.pred.weight.shape[1]
    macs = prod(places) * prod(network.head.pred.weight.shape)
    output = (classes, *places)
    stages.append(StageCost("head", output, _count([network.head]), macs, 0, prod(output) * _FLOAT_BYTES, 0, 0, 0, 0))
    return stages


def training_bytes_per_clip(config: Config, *, recompute: bool) -> int:
    """Memory that each clip of a training batch takes in float32, activations alone.

    Kept for the backward pass are: of a convolution before BN its output; of BN and ReLU the result; of a residual
    block the sum; of a non-local block the pooled input, theta, phi, g, the affinity, y, the last convolution's output
    and the sum. With `recompute` that is the input of each block, and all this of one block at a time. Compared with
    measurements in docs/performance.md.
    """
    train = config.TRAIN
    side = train.crop_size
    stages = measure_complexity(config, num_frames=train.video_length, height=side, width=side)
    if not recompute:
        return sum(stage.kept_bytes for stage in stages)
    kept = sum(stage.output_bytes * stage.num_blocks if stage.num_blocks else stage.kept_bytes for stage in stages)
    return kept + max(stage.largest_block_bytes for stage in stages)


class _Cost:
    """Runs through the layers of a stage, keeping the size of the map."""

    def __init__(self, size: Size3D, channels: int) -> None:
        self.size = size
        self.channels = channels
        self.macs = 0
        self.nonlocal_macs = 0
        self.affinity = 0  # elements
        self.kept = 0  # elements
        self.blocks: list[int] = []  # elements that each block keeps

    def add(self, layer: nn.Layer) -> None:
        if isinstance(layer, nn.Sequential):
            for part in layer:
                self.add(part)
        elif isinstance(layer, Bottleneck):
            self._bottleneck(layer)
        elif isinstance(layer, NonLocalBlock):
            self._nonlocal(layer)
        elif isinstance(layer, nn.Conv3D):
            self.size = self._convolution(layer, self.size)
            self.channels = layer.weight.shape[0]
            self.kept += 2 * self._elements(self.channels)
        elif hasattr(layer, "geometry"):
            self.size = layer.geometry.output_size(self.size)
            self.kept += self._elements(self.channels)

    def _elements(self, channels: int) -> int:
        return channels * prod(self.size)

    def _convolution(self, layer: nn.Layer, size: Size3D) -> Size3D:
        size = layer.geometry.output_size(size)
        self.macs += prod(layer.weight.shape) * prod(size)
        return size

    def _bottleneck(self, block: Bottleneck) -> None:
        if block.has_projection:
            self._convolution(block.branch1, self.size)
        kept = 0
        for convolution in (block.branch2a, block.branch2b):
            self.size = self._convolution(convolution, self.size)
            kept += 2 * self._elements(convolution.weight.shape[0])
        self.size = self._convolution(block.branch2c, self.size)
        self.channels = block.branch2c.weight.shape[0]
        self._block_done(kept + (3 if block.has_projection else 2) * self._elements(self.channels))

    def _block_done(self, kept: int) -> None:
        self.kept += kept
        self.blocks.append(kept)

    def _nonlocal(self, block: NonLocalBlock) -> None:
        keys = self.size if block.pool is None else block.pool.geometry.output_size(self.size)
        num_queries, num_keys, inner = prod(self.size), prod(keys), block.inner_channels
        groups = self.size[0] // block.frames_per_group if block.frames_per_group else 1
        macs = num_keys * self.channels * inner  # g
        macs += num_queries * inner * self.channels  # out
        pairs = num_queries * num_keys // groups
        macs += pairs * inner  # y
        if block.pairwise == "gaussian":
            macs += pairs * self.channels
        else:
            macs += (num_queries + num_keys) * self.channels * inner  # theta, phi
            # w_f . [theta_i, phi_j] needs no product per pair: see NonLocalBlock.
            macs += (num_queries + num_keys) * inner if block.pairwise == "concatenation" else pairs * inner
        self.macs += macs
        self.nonlocal_macs += macs
        maps = inner * (num_queries + num_keys)  # y and g
        maps += inner * (num_queries + num_keys) if block.pairwise != "gaussian" else 0
        keys_kept = self.channels * num_keys if block.pool is not None else 0
        self._block_done(maps + keys_kept + pairs + 2 * self.channels * num_queries)
        queries_at_once = min(block.chunk_size or num_queries, num_queries // groups)
        self.affinity = max(self.affinity, groups * queries_at_once * (num_keys // groups))

    def finish(self, name: str, layers: list[nn.Layer]) -> StageCost:
        output = (self.channels, *self.size)
        return StageCost(
            name=name,
            output=output,
            parameters=_count(layers),
            macs=self.macs,
            nonlocal_macs=self.nonlocal_macs,
            output_bytes=prod(output) * _FLOAT_BYTES,
            affinity_bytes=self.affinity * _FLOAT_BYTES,
            kept_bytes=self.kept * _FLOAT_BYTES,
            largest_block_bytes=max(self.blocks, default=0) * _FLOAT_BYTES,
            num_blocks=len(self.blocks),
        )


def _count(layers: list[nn.Layer]) -> int:
    values = [value for layer in layers for value in layer.parameters() if not value.stop_gradient]
    return sum(int(np.prod(value.shape)) for value in values)
