"""What a network costs, without running it: parameters, multiply-adds and memory of each stage, from its layers.

A layer that knows its cost has a method ``cost(size) -> LayerCost``; here the costs of the layers of a stage are added.
A multiply-add (MAC) is counted for every product of a convolution, of the classifier and of the two matrix products of
a non-local block. Normalisation, activations, pooling and softmax are not counted, as in the published figures.
"""

from dataclasses import dataclass, field
from math import prod

from paddle import nn

from models.normalisation import BATCH_NORMS, running_statistics
from utils.errors import ConfigError

MapSize = tuple[int, int, int, int]  # (C, T, H, W)
_FLOAT_BYTES = 4


@dataclass(frozen=True)
class LayerCost:
    """One layer, for one clip. All sizes are counts of numbers, not bytes."""

    output: MapSize
    macs: int = 0
    nonlocal_macs: int = 0  # those of `macs` that non-local blocks make
    affinity: int = 0  # numbers of an affinity that are in memory at once
    kept: int = 0  # what a training pass keeps of it for the backward pass
    is_block: bool = False  # recomputation keeps the input of it only


@dataclass(frozen=True)
class StageCost:
    """One stage, for one clip in float32."""

    name: str
    output: MapSize  # of the head (K, T', H', W')
    parameters: int  # trained
    frozen: int  # parameters that are not: the scales and offsets of frozen affine layers
    macs: int
    nonlocal_macs: int  # those of `macs` that non-local blocks make
    output_bytes: int
    affinity_bytes: int  # the largest affinity (or chunk of one) of the stage's non-local blocks, 0 if there is none
    kept_bytes: int  # what a training pass keeps for the backward pass
    largest_block_bytes: int  # of that, the bytes that the largest block keeps
    num_blocks: int  # blocks that recomputation runs one by one; 0 where there is none


def stage_cost(name: str, stage: nn.Layer, size: MapSize, *, takes_clips: bool = False) -> StageCost:
    """Add up the costs of the layers of `stage` for an input of `size`.

    Args:
        takes_clips: its input are the clips. They need no gradient, so its first layer is never recomputed.

    Raises:
        ConfigError: the input is too small for a layer, or a layer with parameters does not say what it costs.
    """
    total = _Sum(size)
    total.add(stage)
    blocks = [cost.kept for cost in total.layers[takes_clips:] if cost.is_block]
    parameters = {id(value): value for value in stage.parameters()}.values()
    statistics = {id(value) for pair in running_statistics(stage) for value in pair}
    sizes = [(prod(value.shape), value.stop_gradient) for value in parameters if id(value) not in statistics]
    return StageCost(
        name=name,
        output=total.size,
        parameters=sum(count for count, is_frozen in sizes if not is_frozen),
        frozen=sum(count for count, is_frozen in sizes if is_frozen),
        macs=sum(cost.macs for cost in total.layers),
        nonlocal_macs=sum(cost.nonlocal_macs for cost in total.layers),
        output_bytes=prod(total.size) * _FLOAT_BYTES,
        affinity_bytes=max((cost.affinity for cost in total.layers), default=0) * _FLOAT_BYTES,
        kept_bytes=sum(cost.kept for cost in total.layers) * _FLOAT_BYTES,
        largest_block_bytes=max(blocks, default=0) * _FLOAT_BYTES,
        num_blocks=len(blocks),
    )


def training_bytes_per_clip(costs: list[StageCost], *, recompute: bool) -> int:
    """Memory that each clip of a training batch takes in float32, activations alone.

    Kept for the backward pass are: of a convolution before BN its output; of BN and ReLU the result; of a residual
    block the sum; of a non-local block the pooled input, theta, phi, g, the affinity, y, the last convolution's output
    and the sum. With `recompute` that is the input of each block, and all this of one block at a time. Compared with
    measurements in docs/performance.md.
    """
    if not recompute:
        return sum(stage.kept_bytes for stage in costs)
    kept = sum(stage.output_bytes * stage.num_blocks if stage.num_blocks else stage.kept_bytes for stage in costs)
    return kept + max(stage.largest_block_bytes for stage in costs)


@dataclass
class _Sum:
    """Walks through the layers of a stage, keeping the size of the map."""

    size: MapSize
    layers: list[LayerCost] = field(default_factory=list)

    def add(self, layer: nn.Layer) -> None:
        if hasattr(layer, "cost"):
            cost = layer.cost(self.size)
            self.size = cost.output
            self.layers.append(cost)
        elif isinstance(layer, nn.Sequential):
            for part in layer:
                self.add(part)
        elif layer.parameters() and not isinstance(layer, BATCH_NORMS):
            raise ConfigError(
                f"the cost of a layer {type(layer).__name__} is not known: give it a method `cost`, as layers.py does"
            )
