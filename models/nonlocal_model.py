"""The network NONLOCAL: from its config to stages with non-local blocks and a head."""

from collections.abc import Sequence

from paddle import nn

from models.complexity import StageCost
from models.head import SlidingHead
from models.network import VideoNetwork
from models.nonlocal_block import NonLocalBlock
from models.nonlocal_config import FAMILIES, GROUP_FRAMES, NonlocalConfig
from models.resnet_video import (
    STAGE_CHANNELS,
    Normalisation,
    Stem,
    nonlocal_positions,
    res5_size,
    resnet_stages,
    scale_width,
)

_AFFINITY_CHUNK = 64e6  # bytes of affinity at once that a chunk_size is proposed for


class NonLocalNetwork(VideoNetwork):
    """C2D or I3D with non-local blocks (the paper's section 4). See `VideoNetwork` for input and output."""

    @property
    def _chunk_size(self) -> int:
        return max((block.chunk_size for block in self.nonlocal_blocks.values()), default=0)

    @property
    def lost_in_export(self) -> str:
        """Chunks: an exported block computes its affinity at once."""
        return "NONLOCAL.chunk_size is not kept: its non-local blocks are computed whole" if self._chunk_size else ""

    def memory_advice(self, costs: Sequence[StageCost], clips: int) -> list[str]:
        """Propose a chunk_size for the largest affinity. Its parts are computed one by one, but kept in training."""
        stage = max(costs, key=lambda cost: cost.affinity_bytes)
        affinities = clips * stage.affinity_bytes
        if self._chunk_size or affinities <= _AFFINITY_CHUNK:
            return []
        _, frames, height, width = stage.output
        chunk = max(1, int(frames * height * width * _AFFINITY_CHUNK / affinities))
        return [f"NONLOCAL.chunk_size={chunk} beside these, for the affinities of {stage.name}"]


def build_nonlocal(config: NonlocalConfig) -> NonLocalNetwork:
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
    stages = resnet_stages(
        model.depth,
        FAMILIES[model.video_arc_choice][0],
        stem=stem,
        width_mult=model.width_mult,
        num_groups=config.RESNETS.num_groups,
        width_per_group=config.RESNETS.width_per_group,
        norm=norm,
        make_nonlocal=lambda stage, block, channels: _build_nonlocal_block(config, stage, block, channels),
    )
    head = SlidingHead(
        scale_width(STAGE_CHANNELS[5], model.width_mult),
        model.num_classes,
        window=res5_size(train.video_length, train.crop_size, stem),
        dropout_rate=train.dropout_rate,
        init_std=model.fc_init_std,
    )
    return NonLocalNetwork(stages, head, model, bn_epsilon=model.bn_epsilon)


def _build_nonlocal_block(config: NonlocalConfig, stage: int, block: int, channels: int) -> nn.Layer | None:
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
