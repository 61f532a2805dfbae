"""The network SLOWFAST: a slow pathway of few frames, a fast one of few channels, and lateral connections between them.

Source: Feichtenhofer et al., "SlowFast Networks for Video Recognition", ICCV 2019, table 1. The fast pathway has T
frames of the clip, the slow one T / alpha of them. Before res2 to res5 a convolution over time, of stride alpha, joins
the fast map to the slow one. Non-local blocks stand in the slow pathway.

Legend: N batch, C channels, T frames, H, W.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional as F

from models.complexity import LayerCost, MapSize, StageCost, stage_cost
from models.head import SlidingHead
from models.layers import ConvNormReLU, Convolution, Size3D, sizes
from models.lineages import Layers, Pathways
from models.nonlocal_config import SlowFastConfig
from models.nonlocal_model import NonLocalNetwork, build_nonlocal_block, normalisation_of
from models.recomputation import run_recomputing
from models.resnet_video import STAGE_CHANNELS, res5_size, resnet_stages, scale_width

_FAST = "t_"  # before the saved names of the fast pathway, as in the Caffe2 files
_ROW = ("conv1", "pool1", "res2", "res3", "res4", "res5")
_LATERAL_AFTER = {"pool1": 1, "res2": 2, "res3": 3, "res4": 4}
_TIMES_CHANNELS = 2  # channels of a lateral connection to one of the fast map


class TwoPathwayHead(SlidingHead):
    """As `SlidingHead`, of a slow and a fast map; each is pooled by a window of its own.

    Args:
        windows: of the slow and the fast map; None: the whole maps.
        fast_first: the order of their channels.
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        *,
        windows: tuple[Size3D, Size3D] | None,
        fast_first: bool,
        **options: Any,
    ) -> None:
        super().__init__(channels, num_classes, **options)
        self.windows = windows
        self._fast_first = fast_first

    @paddle.jit.not_to_static  # as `VideoNetwork.feature_map`
    def pooled(self, x: tuple[paddle.Tensor, paddle.Tensor]) -> paddle.Tensor:
        """Return the means that are classified, (N, C, T', H', W')."""
        if self.windows is None:
            parts = [map_.mean(axis=[2, 3, 4], keepdim=True) for map_ in x]
        else:
            pairs = zip(x, self.windows, strict=True)
            parts = [F.avg_pool3d(map_, kernel_size=window, stride=1) for map_, window in pairs]
        return paddle.concat(parts[::-1] if self._fast_first else parts, axis=1)


class Lateral(nn.Layer):
    """The convolution over time that brings the fast map to the frames of the slow one: no padding of height or width.

    (N, C, T, H, W) to (N, 2 C, T / alpha, H, W).
    """

    def __init__(self, name: str, channels: int, *, kernel: int, alpha: int, norm: nn.Layer | None) -> None:
        super().__init__()
        convolution = Convolution(
            name,
            channels,
            _TIMES_CHANNELS * channels,
            (kernel, 1, 1),
            stride=(alpha, 1, 1),
            padding=(kernel // 2, 0, 0),
        )
        self.layer = convolution if norm is None else ConvNormReLU(convolution, norm)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.layer(x)

    def cost(self, size: MapSize) -> LayerCost:
        """Return what it costs."""
        return self.layer.cost(size)


class SlowFastNetwork(NonLocalNetwork):
    """Two pathways. See `VideoNetwork` for input and output."""

    def __init__(self, *arguments: Any, alpha: int, pathways: Pathways, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._alpha = alpha
        self._pathways = pathways

    @paddle.jit.not_to_static  # as in `VideoNetwork`
    def feature_map(self, x: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Return the last maps of the slow and of the fast pathway."""
        stages = self.all_stages
        frames = paddle.to_tensor(slow_frames(sizes(x)[2], self._alpha, self._pathways.slow_frames), "int64")
        slow, fast = x.index_select(frames, axis=2), x
        for name in _ROW:
            slow, fast = self._run(stages[name], slow), self._run(stages[_FAST + name], fast)
            if number := _LATERAL_AFTER.get(name):
                slow = paddle.concat([slow, self._run(stages[f"lateral{number}"], fast)], axis=1)
        return slow, fast

    def frames_of_map(self, num_frames: int, length: int) -> list[int]:
        """Those that the slow pathway sees: the blocks stand in it."""
        return slow_frames(num_frames, self._alpha, self._pathways.slow_frames)[:length]

    def _run(self, stage: nn.Sequential, x: paddle.Tensor) -> paddle.Tensor:
        return run_recomputing(stage, x) if self.recompute and self.training else stage(x)

    def costs(self, size: Size3D) -> list[StageCost]:
        stages, found = self.all_stages, []
        maps: dict[str, MapSize] = {"": (3, size[0] // self._alpha, *size[1:]), _FAST: (3, *size)}
        for name in _ROW:
            for pathway in ("", _FAST):
                stage = stages[pathway + name]
                found.append(stage_cost(pathway + name, stage, maps[pathway], takes_clips=name == _ROW[0]))
                maps[pathway] = found[-1].output
            if number := _LATERAL_AFTER.get(name):
                found.append(stage_cost(f"lateral{number}", stages[f"lateral{number}"], maps[_FAST]))
                channels, *map_size = maps[""]
                maps[""] = (channels + found[-1].output[0], *map_size)
        return [*found, self._head_cost(maps[""], maps[_FAST])]

    def _head_cost(self, slow: MapSize, fast: MapSize) -> StageCost:
        head = self.head
        head.window = head.windows[0] if head.windows else None  # both give the same places
        return stage_cost("head", head, (slow[0] + fast[0], *slow[1:]))


def slow_frames(num_frames: int, alpha: int, rule: str) -> list[int]:
    """Return which frames of a clip the slow pathway sees: see `Pathways`.

    >>> slow_frames(32, 4, "linspace"), slow_frames(32, 8, "strided")
    ([0, 4, 8, 13, 17, 22, 26, 31], [0, 8, 16, 24])
    """
    count = max(num_frames // alpha, 1)
    if rule == "strided":
        return list(range(0, alpha * count, alpha))
    # torch.linspace, in float32: from the start up to the middle, and from the end down to it.
    step = np.float32((num_frames - 1) / max(count - 1, 1))
    places = [step * np.float32(k) if k < count / 2 else np.float32(num_frames - 1) - step * np.float32(count - 1 - k)
              for k in range(count)]  # fmt: skip
    return [int(place) for place in places]


def build_slowfast(config: SlowFastConfig) -> SlowFastNetwork:
    """Build the network of MODEL, SLOWFAST, RESNETS and NONLOCAL."""
    model, train, settings = config.MODEL, config.TRAIN, config.SLOWFAST
    layers, norm = config.layers, normalisation_of(config)
    fast_width = model.width_mult / settings.beta_inv
    shared = {
        "num_groups": config.RESNETS.num_groups, "width_per_group": config.RESNETS.width_per_group, "norm": norm,
    }  # fmt: skip
    fast_channels = {
        stage: scale_width(64 if stage == 1 else STAGE_CHANNELS[stage], fast_width) for stage in (1, 2, 3, 4, 5)
    }
    slow = resnet_stages(
        model.depth,
        "SLOWFAST",
        layers,
        width_mult=model.width_mult,
        make_nonlocal=lambda stage, block, channels: build_nonlocal_block(config, stage, block, channels),
        joined_channels={stage + 1: _TIMES_CHANNELS * fast_channels[stage] for stage in (1, 2, 3, 4)},
        **shared,
    )
    fast_layers = Layers(pool1_padding=layers.pool1_padding, has_pool2=False, all_temporal=True)
    fast = resnet_stages(model.depth, "I3D", fast_layers, width_mult=fast_width, prefix=_FAST, **shared)
    stages: dict[str, Sequence[nn.Layer]] = {}
    for name in _ROW:
        stages[name], stages[_FAST + name] = slow[name], fast[name]
        if number := _LATERAL_AFTER.get(name):
            channels = fast_channels[number]
            lateral_norm = norm.build(f"lateral{number}_bn", _TIMES_CHANNELS * channels)
            stages[f"lateral{number}"] = [
                Lateral(
                    f"lateral{number}",
                    channels,
                    kernel=settings.fusion_kernel,
                    alpha=settings.alpha,
                    norm=lateral_norm if layers.pathways.lateral_norm else None,
                )
            ]
    slow_map = res5_size(train.video_length // settings.alpha, train.crop_size, "SLOWFAST", layers)
    head = TwoPathwayHead(
        scale_width(STAGE_CHANNELS[5], model.width_mult) + fast_channels[5],
        model.num_classes,
        windows=None if config.lineage.head == "map" else (slow_map, (train.video_length, *slow_map[1:])),
        fast_first=layers.pathways.fast_first,
        dropout_rate=train.dropout_rate,
        init_std=model.fc_init_std,
    )
    return SlowFastNetwork(
        config.family,
        model.lineage,
        layers,
        stages,
        head,
        model,
        bn_epsilon=model.bn_epsilon,
        averages_logits=config.lineage.head == "logits",
        alpha=settings.alpha,
        pathways=layers.pathways,
    )
