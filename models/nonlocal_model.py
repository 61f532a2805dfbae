"""The networks NONLOCAL, SLOWONLY and TSM: from the config to stages with non-local blocks and a head."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from paddle import nn

from models.complexity import StageCost
from models.head import SlidingHead
from models.lineages import LINEAGES, Family, Layers
from models.network import VideoNetwork
from models.nonlocal_block import NonLocalBlock
from models.nonlocal_config import GROUP_FRAMES, ResnetConfig
from models.resnet_video import (
    STAGE_CHANNELS,
    Normalisation,
    nonlocal_positions,
    res5_size,
    resnet_stages,
    scale_width,
)

_AFFINITY_CHUNK = 64e6  # bytes of affinity at once that a chunk_size is proposed for


class NonLocalNetwork(VideoNetwork):
    """A ResNet over frames with non-local blocks (the paper's section 4). See `VideoNetwork` for input and output."""

    def __init__(self, family: Family, lineage: str, layers: Layers, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._family = family
        self._lineage = lineage
        self._layers = layers

    def is_of_lineage(self, name: str) -> bool:
        row = LINEAGES[self._family].get(name)
        if row is None or name == self._lineage:
            return row is not None
        # Where there is no non-local block, its form makes no difference.
        form = self._layers.nonlocal_form if self.nonlocal_blocks else row.layers.nonlocal_form
        return row.layers == replace(self._layers, nonlocal_form=form)

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


def build_nonlocal(config: ResnetConfig) -> NonLocalNetwork:
    """Build the network of MODEL, RESNETS and NONLOCAL; a head with a window has that of TRAIN's clip size."""
    model, train = config.MODEL, config.TRAIN
    stages = resnet_stages(
        model.depth,
        config.family,
        config.layers,
        width_mult=model.width_mult,
        num_groups=config.RESNETS.num_groups,
        width_per_group=config.RESNETS.width_per_group,
        norm=normalisation_of(config),
        make_nonlocal=lambda stage, block, channels: build_nonlocal_block(config, stage, block, channels),
    )
    head_rule = config.lineage.head
    window = res5_size(train.video_length, train.crop_size, config.family, config.layers)
    head = SlidingHead(
        scale_width(STAGE_CHANNELS[5], model.width_mult),
        model.num_classes,
        window=None if head_rule == "map" else window,
        dropout_rate=train.dropout_rate,
        init_std=model.fc_init_std,
    )
    return NonLocalNetwork(
        config.family,
        model.lineage,
        config.layers,
        stages,
        head,
        model,
        bn_epsilon=model.bn_epsilon,
        averages_logits=head_rule == "logits",
    )


def normalisation_of(config: ResnetConfig) -> Normalisation:
    """Return what follows the convolutions of the backbone."""
    model = config.MODEL
    return Normalisation(
        kind="affine" if model.use_affine else "bn",
        momentum=model.bn_momentum,
        epsilon=model.bn_epsilon,
        branch_end_scale=model.bn_init_gamma,
        train_affine=model.train_affine,
    )


def build_nonlocal_block(config: ResnetConfig, stage: int, block: int, channels: int) -> nn.Layer | None:
    """Build the non-local block that follows a residual block of `channels` output channels; None if none does."""
    settings, form = config.NONLOCAL, config.layers.nonlocal_form
    if stage not in (3, 4) or not getattr(settings, f"conv{stage}_nonlocal"):
        return None
    usual = nonlocal_positions(config.MODEL.depth, stage, settings.layer_mod, form.first)
    if block not in (getattr(settings, f"conv{stage}_positions") or usual):
        return None
    grouped = config.MODEL.use_affine and stage == 3
    return NonLocalBlock(
        channels,
        settings.pairwise,
        name=f"nonlocal_conv{stage}_{'group_' if grouped else ''}{block}",
        frames_per_group=GROUP_FRAMES if grouped else 0,
        pool=form.pool if settings.use_maxpool else "none",
        use_scale=settings.use_scale
        and form.is_scaled
        and (form.gaussian_is_scaled or settings.pairwise != "gaussian"),
        use_bias=not settings.no_bias,
        out_bias=form.out_bias,
        normalisation="bn" if settings.use_bn else "affine" if settings.use_affine else "none",
        zero_init_conv=settings.use_zero_init_conv,
        chunk_size=settings.chunk_size,
        conv_init_std=settings.conv_init_std,
        bn_momentum=settings.bn_momentum,
        bn_epsilon=settings.bn_epsilon,
        bn_initial_scale=settings.bn_init_gamma,
        train_affine=config.MODEL.train_affine,
    )
