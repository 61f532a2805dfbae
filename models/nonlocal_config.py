"""The settings of ResNets with non-local blocks: NONLOCAL, SLOWONLY, SLOWFAST and TSM, and what must hold for them.

Each has keys of its own in MODEL, and all have the sections RESNETS and NONLOCAL. Nothing here needs Paddle: configs
are checked before anything heavy is imported.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from configs.fields import Section, setting
from configs.schema import Config, ModelSection, ReaderSection, Values, is_override
from models.lineages import LINEAGES, Channels, Family, Layers, Lineage
from utils.errors import ConfigError

Pairwise = Literal["embedded_gaussian", "gaussian", "dot_product", "concatenation"]

FAMILIES: dict[int, tuple[Family, int]] = {1: ("C2D", 50), 2: ("I3D", 50), 3: ("C2D", 101), 4: ("I3D", 101)}
NUM_BLOCKS = {50: {3: 4, 4: 6}, 101: {3: 4, 4: 23}}  # of the stages that may have non-local blocks
GROUP_FRAMES = 4  # frames that see one another in the res3 blocks of the affine (long-clip) networks
_HALVINGS = 5  # of height and width: conv1, pool1, res3, res4, res5


@dataclass(frozen=True, kw_only=True)
class ResnetModelSection(ModelSection):
    """The network apart from its residual and non-local blocks."""

    depth: Literal[50, 101] = setting(50, "layers of the ResNet")
    lineage: str = setting("", "who trained it, which decides some layers: see docs/weights.md; '' = the usual one")
    use_affine: bool = setting(False, "backbone BN replaced by scale and offset; res3 non-local in groups")
    train_affine: bool = setting(False, "train the affine scales and offsets instead of freezing them")
    fc_init_std: float = setting(0.01, "standard deviation of the classifier's initial weights", at_least=0)
    bn_momentum: float = setting(0.9, "running = momentum * running + (1 - momentum) * batch", at_least=0, below=1)
    bn_epsilon: float = setting(1.0e-5, "added to the variance", above=0)
    bn_init_gamma: float = setting(0.0, "initial BN scale at the end of each residual branch")
    width_mult: float = setting(1.0, "scales all channel counts, for quick runs", above=0, at_most=64)


@dataclass(frozen=True, kw_only=True)
class NonlocalModelSection(ResnetModelSection):
    """C2D or I3D."""

    depth: Literal[50, 101] = setting(50, "must agree with video_arc_choice")
    video_arc_choice: Literal[1, 2, 3, 4] = setting(1, "1 C2D R50, 2 I3D R50, 3 C2D R101, 4 I3D R101")
    stem_temporal_stride: Literal[1, 2] = setting(
        1, "2: conv1 and pool1 halve the frames too (the paper's own 32x2 and 128x1)"
    )
    pool1_padding: Literal[0, 1] = setting(0, "1 for networks that came from PyTorch")


@dataclass(frozen=True, kw_only=True)
class ResnetsSection(Section):
    """The residual blocks."""

    num_groups: int = setting(1, "groups of the 3x3 convolutions", at_least=1, at_most=4096)
    width_per_group: int = setting(64, "inner channels per group in res2", at_least=1, at_most=4096)
    trans_func: Literal["bottleneck_transformation_3d"] = setting(
        "bottleneck_transformation_3d", "kind of residual branch"
    )


@dataclass(frozen=True, kw_only=True)
class NonlocalSection(Section):
    """The non-local blocks."""

    pairwise: Pairwise = setting("embedded_gaussian", "pairwise function f of the paper, section 3.2")
    use_softmax: bool = setting(True, "old key: False means pairwise='dot_product'")
    bn_momentum: float = setting(0.9, "as in MODEL", at_least=0, below=1)
    bn_epsilon: float = setting(1.0e-5, "as in MODEL", above=0)
    bn_init_gamma: float = setting(0.0, "initial BN scale at the end of each non-local block")
    layer_mod: int = setting(2, "a non-local block after every layer_mod-th residual block", at_least=1)
    conv3_nonlocal: bool = setting(True, "non-local blocks in res3")
    conv4_nonlocal: bool = setting(True, "non-local blocks in res4")
    conv3_positions: tuple[int, ...] = setting((), "residual blocks of res3 that one follows, from 0; [] = layer_mod")
    conv4_positions: tuple[int, ...] = setting((), "the same of res4")
    conv_init_std: float = setting(0.01, "standard deviation of the initial convolution weights", at_least=0)
    no_bias: bool = setting(False, "convolutions without bias (0 or 1 in old files)")
    use_maxpool: bool = setting(True, "g and phi see the input max-pooled 1x2x2")
    use_scale: bool = setting(True, "multiply the affinity by d^-0.5 (Gaussian forms)")
    use_zero_init_conv: bool = setting(False, "the last convolution starts at 0")
    chunk_size: int = setting(
        0, "query positions computed at once, to bound memory; 0 = all; same result", at_least=0, may_change=True
    )
    use_bn: bool = setting(True, "BN after the last convolution")
    use_affine: bool = setting(False, "scale and offset after the last convolution, instead of BN")


@dataclass(frozen=True, kw_only=True)
class ResnetConfig(Config):
    """A run of a ResNet with non-local blocks."""

    only_family: ClassVar[Family]

    MODEL: ResnetModelSection = ResnetModelSection()
    RESNETS: ResnetsSection = ResnetsSection()
    NONLOCAL: NonlocalSection = NonlocalSection()

    @property
    def family(self) -> Family:
        """The family of the network."""
        return self.family_of(vars(self.MODEL))

    @property
    def lineage(self) -> Lineage:
        """The row of MODEL.lineage."""
        return LINEAGES[self.family][self.MODEL.lineage]

    @property
    def layers(self) -> Layers:
        """The layers of the lineage."""
        return self.lineage.layers

    @property
    def frames_joined(self) -> int:
        """What the frames of a clip must be a multiple of."""
        return self.layers.frames_joined

    def input_and_head_unlike(self, lineage: str) -> list[str]:
        """Return how input and head of this run differ from those of a lineage of its family; nothing of its layers."""
        row = LINEAGES[self.family][lineage]
        differing = [
            f"MODEL.{key}={getattr(row, key)} (here {getattr(self.MODEL, key)})"
            for key in ("image_mean", "image_std")
            if _by_channel(getattr(row, key)) != _by_channel(getattr(self.MODEL, key))
        ]
        if row.head != self.lineage.head:
            differing.append(f"the head '{row.head}' (here '{self.lineage.head}')")
        return differing

    @classmethod
    def family_of(cls, model: Mapping[str, object]) -> Family:
        """Return the family that keys of MODEL name."""
        return cls.only_family

    @classmethod
    def settle_old_keys(cls, values: Values, places: Mapping[str, str]) -> None:
        """Let `pairwise` and the old key use_softmax say the same; use_softmax=False means the dot-product form.

        Every old file says use_softmax=True, so an override of `pairwise` passes over that; otherwise the two must
        agree.
        """
        given = values.setdefault("NONLOCAL", {})
        if "pairwise" not in given:
            given["pairwise"] = "embedded_gaussian" if given.get("use_softmax", True) else "dot_product"
        softmax = given["pairwise"] in ("embedded_gaussian", "gaussian")
        stated, place = given.get("use_softmax", softmax), places.get("NONLOCAL.use_softmax", "")
        overridden = is_override(places.get("NONLOCAL.pairwise", "")) and not is_override(place)
        if stated != softmax and not (stated and overridden):
            raise ConfigError(
                f"{place}: NONLOCAL.use_softmax = {stated} contradicts NONLOCAL.pairwise = {given['pairwise']}"
            )
        given["use_softmax"] = softmax
        cls._settle_lineage(values.setdefault("MODEL", {}))

    @classmethod
    def _settle_lineage(cls, model: dict[str, object]) -> None:
        """Let the lineage decide the keys that nobody gave."""
        rows = LINEAGES[cls.family_of(model)]
        name = model.setdefault("lineage", "") or next(iter(rows))
        model["lineage"] = name
        if name in rows:
            model.setdefault("image_mean", rows[name].image_mean)
            model.setdefault("image_std", rows[name].image_std)

    def network_violations(self) -> Iterator[tuple[str, str]]:
        """Yield what contradicts in NONLOCAL, and the clips that do not fit the network's geometry."""
        if self.MODEL.lineage not in LINEAGES[self.family]:
            rows = ", ".join(LINEAGES[self.family])
            yield "MODEL.lineage", f"lineage ({self.MODEL.lineage}) must be one of {rows}, for {self.family}"
            return
        if self.NONLOCAL.use_bn and self.NONLOCAL.use_affine:
            yield "NONLOCAL.use_affine", "use_affine and use_bn cannot both be True"
        for stage, count in NUM_BLOCKS[self.MODEL.depth].items():
            positions = getattr(self.NONLOCAL, f"conv{stage}_positions")
            if sorted(set(positions)) != list(positions) or not all(0 <= block < count for block in positions):
                yield (
                    f"NONLOCAL.conv{stage}_positions",
                    f"conv{stage}_positions ({list(positions)}) must ascend, from 0 to at most {count - 1}: res{stage} "
                    f"has {count} blocks",
                )
        for name in ("TRAIN", "VALID", "TEST", "INFER"):
            yield from self._clip_violations(name, getattr(self, name))

    def _clip_violations(self, name: str, section: ReaderSection) -> Iterator[tuple[str, str]]:
        step, because = self.frames_joined, "pool2 joins frames in pairs"
        if self.family == "SLOWFAST":
            because = "the slow pathway sees one frame of SLOWFAST.alpha"
        elif getattr(self.MODEL, "stem_temporal_stride", 1) == 2:
            because = "with MODEL.stem_temporal_stride=2 the frames are halved three times"
        elif step > 2:
            because = f"with MODEL.lineage={self.MODEL.lineage} {step} frames become one"
        if self.MODEL.use_affine:
            step, because = GROUP_FRAMES * step, f"with MODEL.use_affine res3 groups its frames by {GROUP_FRAMES}"
        if section.video_length % step:
            multiple = "even" if step == 2 else f"a multiple of {step}"
            yield f"{name}.video_length", f"video_length ({section.video_length}) must be {multiple}: {because}"
        if section.crop_size % 2**_HALVINGS:
            yield (
                f"{name}.crop_size",
                f"crop_size ({section.crop_size}) must be a multiple of {2**_HALVINGS}: the network halves it "
                f"{_HALVINGS} times",
            )
        for key in ("crop_size", "video_length") if self.lineage.head != "map" else ():
            value, trained = getattr(section, key), getattr(self.TRAIN, key)
            if value < trained:
                yield (
                    f"{name}.{key}",
                    f"{key} ({value}) must not be less than TRAIN.{key} ({trained}): the head pools over it",
                )


def _by_channel(values: Channels) -> tuple[float, ...]:
    return values if isinstance(values, tuple) else (values,) * 3


@dataclass(frozen=True, kw_only=True)
class NonlocalConfig(ResnetConfig):
    """A run of NONLOCAL: C2D or I3D."""

    MODEL: NonlocalModelSection = NonlocalModelSection(name="NONLOCAL", lineage="authors")

    @classmethod
    def family_of(cls, model: Mapping[str, object]) -> Family:
        return FAMILIES.get(model.get("video_arc_choice", 1), FAMILIES[1])[0]

    @property
    def layers(self) -> Layers:
        """The layers of the lineage; two old keys vary those of the authors."""
        model, layers = self.MODEL, self.lineage.layers
        if model.pool1_padding:
            layers = replace(layers, pool1_padding=1)
        if model.stem_temporal_stride == 2:
            layers = replace(layers, conv1_stride=2, pool1_frames=2, pool1_stride=2)
        return layers

    def network_violations(self) -> Iterator[tuple[str, str]]:
        """Yield what contradicts in MODEL, and what `ResnetConfig` yields."""
        family, depth = FAMILIES[self.MODEL.video_arc_choice]
        if depth != self.MODEL.depth:
            yield (
                "MODEL.depth",
                f"depth ({self.MODEL.depth}) contradicts video_arc_choice ({self.MODEL.video_arc_choice}), "
                f"which is {family} with depth {depth}",
            )
        if self.MODEL.lineage in LINEAGES[family] and self.MODEL.lineage != "authors":
            for key, usual in (("stem_temporal_stride", 1), ("pool1_padding", 0)):
                if getattr(self.MODEL, key) != usual:
                    yield (
                        f"MODEL.{key}",
                        f"{key} varies the networks of the authors; MODEL.lineage = {self.MODEL.lineage} decides it",
                    )
        yield from super().network_violations()


@dataclass(frozen=True, kw_only=True)
class SlowOnlyConfig(ResnetConfig):
    """A run of SLOWONLY."""

    only_family = "SLOWONLY"

    MODEL: ResnetModelSection = ResnetModelSection(name="SLOWONLY", lineage="pyslowfast")


@dataclass(frozen=True, kw_only=True)
class TsmConfig(ResnetConfig):
    """A run of TSM."""

    only_family = "TSM"

    MODEL: ResnetModelSection = ResnetModelSection(name="TSM", lineage="tsm")


@dataclass(frozen=True, kw_only=True)
class SlowFastSection(Section):
    """The two pathways."""

    alpha: int = setting(8, "frames of the fast pathway to one of the slow one (8 for 4x16, 4 for 8x8)", at_least=1)
    beta_inv: int = setting(8, "channels of the slow pathway to one of the fast one", at_least=1, at_most=64)
    fusion_kernel: Literal[1, 3, 5, 7, 9] = setting(5, "frames of the lateral convolutions (5 for 4x16, 7 for 8x8)")


@dataclass(frozen=True, kw_only=True)
class SlowFastConfig(ResnetConfig):
    """A run of SLOWFAST."""

    only_family = "SLOWFAST"

    MODEL: ResnetModelSection = ResnetModelSection(name="SLOWFAST", lineage="pyslowfast")
    SLOWFAST: SlowFastSection = SlowFastSection()

    @property
    def frames_joined(self) -> int:
        return self.SLOWFAST.alpha

    def network_violations(self) -> Iterator[tuple[str, str]]:
        """Yield what `ResnetConfig` yields, and clips whose pathways would have different numbers of places."""
        yield from super().network_violations()
        for name in ("VALID", "TEST", "INFER"):
            found, trained = getattr(self, name).video_length, self.TRAIN.video_length
            if found != trained and self.lineage.head != "map":
                yield (
                    f"{name}.video_length",
                    f"video_length ({found}) must be TRAIN.video_length ({trained}): the head joins two pathways",
                )
