"""The NONLOCAL network: normalisation of the frames, backbone with non-local blocks, head; and config to network."""

import paddle
from paddle import nn
from paddle.nn import functional as F

from configs.schema import Config
from models.head import SlidingHead
from models.layers import NamedNetwork
from models.nonlocal_block import NonLocalBlock
from models.resnet_video import Normalisation, Stem, VideoResNet, nonlocal_positions, res5_size

_FAMILY = {1: "C2D", 2: "I3D", 3: "C2D", 4: "I3D"}  # MODEL.video_arc_choice
GROUP_FRAMES = 4  # frames that see one another in the res3 blocks of the affine (long-clip) networks


class NonLocalNetwork(NamedNetwork):
    """Clips to class scores.

    Input: (N, 3, T, H, W), RGB; uint8 in [0, 255] is normalised here, on the device, with `image_mean` and
    `image_std`; floating-point input is taken as normalised.
    Output: in training logits (N, K); otherwise probabilities (N, K): softmax at each place of the map, then the
    mean over the places.
    """

    def __init__(self, backbone: VideoResNet, head: SlidingHead, *, image_mean: float, image_std: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.image_mean = image_mean
        self.image_std = image_std

    def forward(self, clips: paddle.Tensor) -> paddle.Tensor:
        logits = self.logits(clips)  # (N, T', H', W', K)
        if self.training:
            return logits.mean(axis=[1, 2, 3])  # (N, K): one place for a clip of training size
        return F.softmax(logits, axis=-1).mean(axis=[1, 2, 3])  # (N, K)

    @property
    def stages(self) -> list[list[nn.Layer]]:
        """The layers of conv1, res2, ..., res5, from the input on: what TRAIN.freeze_stages counts."""
        backbone = self.backbone
        return [[backbone.conv1, backbone.bn_conv1], *([stage] for stage in backbone.residual_stages)]

    def logits(self, clips: paddle.Tensor) -> paddle.Tensor:
        """Return the map of class scores, (N, T', H', W', K)."""
        if clips.dtype == paddle.uint8:
            clips = (clips.astype("float32") - self.image_mean) / self.image_std
        return self.head(self.backbone(clips))


def build_nonlocal(config: Config) -> NonLocalNetwork:
    """Build the network of MODEL, RESNETS and NONLOCAL; the head's window follows TRAIN's clip size."""
    model, train = config.MODEL, config.TRAIN
    norm = Normalisation(
        kind="affine" if model.use_affine else "bn",
        momentum=model.bn_momentum,
        epsilon=model.bn_epsilon,
        branch_end_scale=model.bn_init_gamma,
        train_affine=model.train_affine,
    )
    stem = Stem(model.stem_temporal_stride, model.pool1_padding)
    backbone = VideoResNet(
        model.depth,
        _FAMILY[model.video_arc_choice],
        stem=stem,
        width_mult=model.width_mult,
        num_groups=config.RESNETS.num_groups,
        width_per_group=config.RESNETS.width_per_group,
        norm=norm,
        make_nonlocal=lambda stage, block, channels: _build_nonlocal_block(config, stage, block, channels),
    )
    head = SlidingHead(
        backbone.out_channels,
        model.num_classes,
        window=res5_size(train.video_length, train.crop_size, stem),
        dropout_rate=train.dropout_rate,
        init_std=model.fc_init_std,
    )
    return NonLocalNetwork(backbone, head, image_mean=model.image_mean, image_std=model.image_std)


def _build_nonlocal_block(config: Config, stage: int, block: int, channels: int) -> nn.Layer | None:
    settings = config.NONLOCAL
    wanted = {3: settings.conv3_nonlocal, 4: settings.conv4_nonlocal}.get(stage, False)
    if not wanted or block not in nonlocal_positions(config.MODEL.depth, stage, settings.layer_mod):
        return None
    grouped = config.MODEL.use_affine and stage == 3
    return NonLocalBlock(
        channels,
        settings.pairwise,
        name=f"nonlocal_conv{stage}_{'group_' if grouped else ''}{block}",
        frames_per_group=GROUP_FRAMES if grouped else 0,
        use_maxpool=settings.use_maxpool,
        use_scale=settings.use_scale,
        use_bias=not settings.no_bias,
        normalisation="bn" if settings.use_bn else "affine" if settings.use_affine else "none",
        zero_init_conv=settings.use_zero_init_conv,
        chunk_size=settings.chunk_size,
        conv_init_std=settings.conv_init_std,
        bn_momentum=settings.bn_momentum,
        bn_epsilon=settings.bn_epsilon,
        bn_initial_scale=settings.bn_init_gamma,
        train_affine=config.MODEL.train_affine,
    )
