"""Who trained a network, and the layers in which that makes a difference: one row each.

Networks of one name were trained by several toolkits, whose stems, pools and non-local blocks differ. MODEL.lineage
names the row. Where names and shapes of a weights file are the same, its values still belong to one of these alone.
Sources: the code of MMAction2 4d6c9347, SlowFast 287ec00, PyTorchVideo f3142bb, GluonCV 56777561, PaddleVideo ed245e9c,
TSM 1f6a834, pytorch-resnet3d 8d3e1da, and the authors' video-nonlocal-net. Nothing here needs Paddle.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

Family = Literal["C2D", "I3D", "SLOWONLY", "SLOWFAST", "TSM"]
Channels = float | tuple[float, ...]  # one number, or red, green and blue


@dataclass(frozen=True)
class NonlocalForm:
    """What differs in the non-local blocks.

    Args:
        pool: the 1x2x2 max pool comes before the projections phi and g, after them, or there is none.
        is_scaled: the affinity of the embedded Gaussian form is multiplied by (width of the product)^-0.5.
        gaussian_is_scaled: that of the Gaussian form too.
        out_bias: the last convolution has a bias.
        first: residual block of res3 and res4 that the first non-local block follows.
    """

    pool: Literal["before", "after", "none"] = "before"
    is_scaled: bool = True
    gaussian_is_scaled: bool = True
    out_bias: bool = True
    first: int = 1

    def scales(self, pairwise: str) -> bool:
        """Whether the affinity of this pairwise function is scaled, if that of any is."""
        return self.is_scaled and (self.gaussian_is_scaled or pairwise != "gaussian")


@dataclass(frozen=True)
class Pathways:
    """What differs between networks of two pathways.

    Args:
        lateral_norm: BN and ReLU follow the convolution that joins the fast pathway to the slow one.
        slow_frames: which frames of a clip of T the slow pathway sees: 'linspace', T / alpha of them evenly from the
            first to the last, rounded down; 'strided', every alpha-th.
        fast_first: in the classifier's input the channels of the fast pathway come first.
    """

    lateral_norm: bool = True
    slow_frames: Literal["linspace", "strided"] = "linspace"
    fast_first: bool = False


@dataclass(frozen=True)
class Layers:
    """What differs in the layers; the defaults are those of the authors' released networks.

    Args:
        conv1_stride: over time.
        pool1_frames, pool1_stride: kernel and stride of pool1 over time.
        pool1_padding: of height and width.
        has_pool2: a max pool 2x1x1 follows res2.
        all_temporal: every block begins with a 3x1x1 convolution.
        shift: what the first and the second eighth of the channels see before each block: the next frame and the
            previous one ('next_previous', TSM), or the other way round; empty: no shift.
        nonlocal_form: of the non-local blocks.
        pathways: of SLOWFAST, whose other layers here are those of its slow pathway.
    """

    conv1_stride: int = 1
    pool1_frames: int = 1
    pool1_stride: int = 1
    pool1_padding: int = 0
    has_pool2: bool = True
    all_temporal: bool = False
    shift: Literal["", "next_previous", "previous_next"] = ""
    nonlocal_form: NonlocalForm = field(default_factory=NonlocalForm)
    pathways: Pathways = field(default_factory=Pathways)

    @property
    def frames_joined(self) -> int:
        """How many frames of a clip become one of the last map."""
        return self.conv1_stride * self.pool1_stride * (2 if self.has_pool2 else 1)


@dataclass(frozen=True)
class Lineage:
    """A row: the layers, the head, and the normalisation of the input.

    Args:
        head: of a larger test crop. 'probabilities': softmax at each place of a window of training size, then the mean;
            'logits': the mean of the window's logits; 'map': one place, the mean of the whole map.
        image_mean, image_std: of RGB values from 0 to 255.
        clip: frames and rate that most of its networks were published with; rate 0: uniform segments.
    """

    layers: Layers = field(default_factory=Layers)
    head: Literal["probabilities", "logits", "map"] = "probabilities"
    image_mean: Channels = 114.75
    image_std: Channels = 57.375
    clip: tuple[int, int] = (8, 8)


_IMAGENET_MEAN, _IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_LONG, _SEGMENTS = (32, 2), (8, 0)
_PADDED = Layers(pool1_padding=1)
_SLOW = Layers(pool1_padding=1, has_pool2=False)
_LONG_I3D = Layers(conv1_stride=2, pool1_stride=2, pool1_padding=1)  # pool1 1x3x3: drops every second frame
_PAPER = Layers(conv1_stride=2, pool1_frames=2, pool1_stride=2)  # the paper's own 32x2 and 128x1
_MMCV = NonlocalForm(pool="after", gaussian_is_scaled=False, out_bias=False, first=0)
_POOL_AFTER = NonlocalForm(pool="after", is_scaled=False, out_bias=False)


def _shifted(shift: Literal["next_previous", "previous_next"], form: NonlocalForm = NonlocalForm()) -> Layers:
    return Layers(pool1_padding=1, has_pool2=False, shift=shift, nonlocal_form=form)


def _imagenet(layers: Layers, clip: tuple[int, int] = (8, 8)) -> Lineage:
    return Lineage(layers, head="map", image_mean=_IMAGENET_MEAN, image_std=_IMAGENET_STD, clip=clip)


LINEAGES: dict[Family, dict[str, Lineage]] = {
    "C2D": {
        "authors": Lineage(),
        "pyslowfast": Lineage(_PADDED),
        "pyslowfast_nopool": Lineage(_SLOW),
        "pytorchvideo": Lineage(_PADDED, head="logits"),
        "mmaction2": _imagenet(Layers()),
    },
    "I3D": {
        "authors": Lineage(),
        "pyslowfast": Lineage(_PADDED),
        "pytorchvideo": Lineage(_PADDED, head="logits"),
        "mmaction2": _imagenet(replace(_LONG_I3D, nonlocal_form=_POOL_AFTER), _LONG),
        "mmaction2_heavy": _imagenet(Layers(pool1_padding=1, all_temporal=True), _LONG),
        "gluoncv": _imagenet(replace(_LONG_I3D, nonlocal_form=NonlocalForm(pool="none")), _LONG),
        "pytorch_resnet3d": Lineage(_PAPER, head="map", clip=_LONG),
    },
    "SLOWONLY": {
        "pyslowfast": Lineage(_SLOW),
        "pytorchvideo": Lineage(_SLOW, head="logits"),
        "mmaction2": _imagenet(replace(_SLOW, nonlocal_form=_MMCV)),
    },
    "SLOWFAST": {
        "pyslowfast": Lineage(_SLOW, clip=_LONG),
        "pytorchvideo": Lineage(_SLOW, head="logits", clip=_LONG),
        "mmaction2": _imagenet(
            replace(_SLOW, pathways=Pathways(lateral_norm=False, slow_frames="strided", fast_first=True)), _LONG
        ),
        "paddlevideo": Lineage(_SLOW, clip=_LONG),
    },
    "TSM": {
        "tsm": _imagenet(_shifted("next_previous", replace(_POOL_AFTER, out_bias=True, first=0)), _SEGMENTS),
        "mmaction2": _imagenet(_shifted("next_previous", replace(_POOL_AFTER, first=0)), _SEGMENTS),
        "paddlevideo": _imagenet(_shifted("previous_next"), _SEGMENTS),
    },
}
