"""What the rest of the toolkit may ask of a network. Nothing outside `models/` uses anything else of it.

A network is a row of named stages and a head:

    class Small(VideoNetwork):
        def __init__(self, config):
            conv1 = Convolution("conv1", 3, 16, (3, 7, 7), stride=(1, 4, 4))
            stages = {"conv1": [ConvNormReLU(conv1, batch_norm("bn_conv1", 16))]}
            super().__init__(stages, SlidingHead(16, config.MODEL.num_classes), config.MODEL)

Everything else follows from the layers: each layer counts its own cost and folds its own normalisation, and the network
adds up. A network that is no plain row (two pathways) overrides `feature_map` and `costs`.
`models/registry.py` says how a network becomes known by its name.

Legend: N batch, C channels, T frames, H, W; T', H', W' places of the head (1x1x1 for a clip of training size);
K classes.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import paddle
from paddle import nn
from paddle.nn import functional as F

from configs.schema import ModelSection
from models.complexity import MapSize, StageCost, stage_cost
from models.head import SlidingHead
from models.layers import Affine, NamedNetwork, Size3D
from models.nonlocal_block import NonLocalBlock
from models.normalisation import BATCH_NORMS
from models.recomputation import run_recomputing

Part = Literal["backbone", "nonlocal", "head"]


class ParameterKind(NamedTuple):
    """What a parameter is. Its part decides the learning rate; weight decay treats normalisation apart."""

    part: Part
    is_normalisation: bool  # scale or offset of a BN or affine layer


class VideoNetwork(NamedNetwork):
    """Clips to class scores.

    Input: (N, 3, T, H, W), RGB. uint8 in [0, 255] is normalised here, on the device, with MODEL.image_mean and
    image_std; floating-point input is taken as normalised.
    Output: logits (N, K) in training; otherwise probabilities (N, K): softmax (with MODEL.multi_label sigmoid) at each
    place, then the mean over places.

    Args:
        stages: the layers of each stage by its name, in the order in which a clip passes them. Pools may be stages of
            their own.
        head: (N, C, T, H, W) to logits (N, T', H', W', K).
        section: MODEL.
        bn_epsilon: of a BN in a weights file that becomes an affine layer here.
        averages_logits: the places of a larger crop are averaged before the softmax or sigmoid.
    """

    def __init__(
        self,
        stages: Mapping[str, Sequence[nn.Layer]],
        head: SlidingHead,
        section: ModelSection,
        *,
        bn_epsilon: float = 1e-5,
        averages_logits: bool = False,
    ) -> None:
        super().__init__()
        self.image_mean = section.image_mean
        self.image_std = section.image_std
        self._multi_label = section.multi_label
        self._averages_logits = averages_logits
        self.bn_epsilon = bn_epsilon
        self.recompute = False
        self._stage_names = list(stages)
        for name, layers in stages.items():
            if hasattr(self, name) or name == "head":
                raise ValueError(f"a stage cannot be called {name!r}: every layer has a member of this name")
            self.add_sublayer(name, nn.Sequential(*layers))
        self.head = head
        self._kinds = self._find_kinds()
        self._require_names()

    def forward(self, clips: paddle.Tensor) -> paddle.Tensor:
        logits = self.logits(clips)  # (N, T', H', W', K)
        if self.training:
            return logits.mean(axis=[1, 2, 3])  # (N, K)
        return self._probabilities(logits)

    def with_features(self, clips: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Return probabilities (N, K) and `features` (N, C), computed together."""
        pooled = self.head.pooled(self.feature_map(self.normalised(clips)))  # (N, C, T', H', W')
        return self._probabilities(self.head.classified(pooled)), pooled.mean(axis=[2, 3, 4])

    @paddle.jit.not_to_static  # as `normalised`
    def _probabilities(self, logits: paddle.Tensor) -> paddle.Tensor:
        if self._averages_logits:
            return self._of_logits(logits.mean(axis=[1, 2, 3]))  # (N, K)
        return self._of_logits(logits).mean(axis=[1, 2, 3])  # (N, K)

    def _of_logits(self, logits: paddle.Tensor) -> paddle.Tensor:
        return F.sigmoid(logits) if self._multi_label else F.softmax(logits, axis=-1)

    def logits(self, clips: paddle.Tensor) -> paddle.Tensor:
        """Return the class scores at each place, (N, T', H', W', K)."""
        return self.head(self.feature_map(self.normalised(clips)))

    def features(self, clips: paddle.Tensor) -> paddle.Tensor:
        """Return what the classifier sees, (N, C), the mean over the places of the head."""
        pooled = self.head.pooled(self.feature_map(self.normalised(clips)))  # (N, C, T', H', W')
        return pooled.mean(axis=[2, 3, 4])

    @paddle.jit.not_to_static  # an export runs the Python code as it stands, instead of translating each `if` and loop
    def normalised(self, clips: paddle.Tensor) -> paddle.Tensor:
        """Return `clips` as float32 with the mean subtracted and divided by the standard deviation."""
        if clips.dtype == paddle.uint8:
            return (clips.astype("float32") - _by_channel(self.image_mean)) / _by_channel(self.image_std)
        return clips

    @paddle.jit.not_to_static  # as above
    def feature_map(self, x: paddle.Tensor) -> paddle.Tensor:
        """Return what the head is given: normalised clips passed through all stages."""
        for stage in self.all_stages.values():
            x = run_recomputing(stage, x) if self.recompute and self.training else stage(x)
        return x

    @property
    def all_stages(self) -> dict[str, nn.Sequential]:
        """The stages by name, in order, those without parameters too."""
        return {name: getattr(self, name) for name in self._stage_names}

    @property
    def stages(self) -> dict[str, nn.Sequential]:
        """The stages that hold parameters: what TRAIN.freeze_stages counts, from the input on."""
        return {name: stage for name, stage in self.all_stages.items() if stage.parameters()}

    @property
    def nonlocal_blocks(self) -> dict[str, NonLocalBlock]:
        """The non-local blocks by name, in order; empty where there are none."""
        return {layer.name: layer for layer in self.sublayers() if isinstance(layer, NonLocalBlock)}

    def frames_of_map(self, num_frames: int, length: int) -> list[int]:
        """Return which frames of a clip the `length` frames of a non-local block's map stand for: middles of parts."""
        step = num_frames // length
        return [step // 2 + step * frame for frame in range(length)]

    def parameter_kind(self, name: str) -> ParameterKind:
        """Return what the parameter with the saved name `name` is.

        Raises:
            KeyError: the network has no such parameter.
        """
        return self._kinds[name]

    def _find_kinds(self) -> dict[str, ParameterKind]:
        """The kind of every parameter and running statistic, by saved name."""
        part_of: dict[int, Part] = {id(layer): "head" for layer in self.head.sublayers(include_self=True)}
        for block in self.nonlocal_blocks.values():
            part_of |= dict.fromkeys(map(id, block.sublayers(include_self=True)), "nonlocal")
        kinds = {}
        for layer in self.sublayers(include_self=True):
            is_normalisation = isinstance(layer, (Affine, *BATCH_NORMS))
            for name in getattr(layer, "released_names", {}).values():
                kinds[name] = ParameterKind(part_of.get(id(layer), "backbone"), is_normalisation)
        return kinds

    def _require_names(self) -> None:
        """Raise ValueError if a parameter has no saved name: it would be neither trained nor saved."""
        named = {id(value) for value in self.state_dict().values()}
        for path, value in self.named_parameters():
            if id(value) not in named:
                raise ValueError(f"the parameter {path} has no saved name: see `with_names` in models/layers.py")

    def set_recompute(self, on: bool) -> None:
        """Keep only the input of each block in a training pass, and compute the block again in the backward pass.

        Results are the same, bit for bit.
        """
        self.recompute = on

    def fold_normalisation(self) -> None:
        """Fold normalisation into convolutions, in place, wherever a layer knows how.

        The output in evaluation mode stays the same, to rounding. The network cannot be trained or saved afterwards.
        """
        self.eval()
        for layer in self.sublayers():
            if hasattr(layer, "fold_normalisation"):
                layer.fold_normalisation()

    def costs(self, size: Size3D) -> list[StageCost]:
        """Return what each stage, and the head, costs for one clip of `size` (T, H, W).

        Raises:
            ConfigError: a clip of this size is too small for the network.
        """
        found: list[StageCost] = []
        output: MapSize = (3, *size)
        for name, stage in [*self.all_stages.items(), ("head", self.head)]:
            found.append(stage_cost(name, stage, output, takes_clips=not found))
            output = found[-1].output
        return found

    def is_of_lineage(self, name: str) -> bool:
        """Whether the network has the layers of those whom MODEL.lineage calls `name`; True where this says nothing."""
        return True

    def memory_advice(self, costs: Sequence[StageCost], clips: int) -> list[str]:
        """Return settings of this network that make a training step with `clips` at once take less memory.

        Args:
            costs: of one clip.
        """
        return []

    @property
    def lost_in_export(self) -> str:
        """Which setting an exported network does not keep to, in words; empty if it keeps to all."""
        return ""


def _by_channel(values: float | tuple[float, ...]) -> float | paddle.Tensor:
    """A number; or three, for the channels of (N, 3, T, H, W)."""
    return values if isinstance(values, float) else paddle.to_tensor(values, "float32").reshape([1, 3, 1, 1, 1])
