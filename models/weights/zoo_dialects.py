"""What the video zoos of today call the parameters of their ResNets, and which dialects each network reads.

The neutral names are those of `nonlocal_dialects.py`. Here a system's names say who trained a file, and so which layers
it belongs to: `Dialect.lineages`.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from models.weights.dialects import Dialect
from models.weights.nonlocal_dialects import (
    BRANCHES,
    CAFFE2,
    RELEASED,
    RESNET,
    SLOWFAST,
    TORCH_STATISTIC_NAMES,
    TORCH_STATISTICS,
    stage_of_layer,
)

_PARTS = {"weight": "w", "bias": "b"}
_BLOCK = r"(?P<block>\d{1,2})"
_WORDS = {
    "layer": stage_of_layer,
    "group": lambda group: str(int(group) + 2),
    "branch": {**BRANCHES, "a": "2a", "b": "2b", "c": "2c"}.__getitem__,
    "stat": TORCH_STATISTIC_NAMES.__getitem__,
    "part": _PARTS.__getitem__,
    "conv": {"theta": "theta", "phi": "phi", "g": "g", "out": "out", "W": "out", "conv_out": "out"}.__getitem__,
}
_COUNTERS = r".*\.num_batches_tracked"


Rules = tuple[tuple[str, str], ...]


def _next_number(number: str) -> str:
    return str(int(number) + 1)


def _is_shifted(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether TSM's wrapper is there: convolutions that see a shifted map are called ``net``."""
    return any(name.endswith(".net.weight") for name in arrays)


def _mmaction2_rules(first_convolution: str, block: str) -> Rules:
    at = rf"backbone\.layer(?P<layer>[1-4])\.{_BLOCK}\.{block}"
    nonlocal_at = rf"backbone\.layer(?P<layer>[1-4])\.{_BLOCK}\.non_local_block\."
    return (
        (r"backbone\.conv1\.conv\.weight", "conv1_weights"),
        (rf"backbone\.conv1\.bn\.{TORCH_STATISTICS}", "bn_conv1_{stat}"),
        (rf"{at}conv(?P<branch>1)\.conv{first_convolution}\.weight", "res{layer}.{block}_branch{branch}_weights"),
        (rf"{at}conv(?P<branch>[23])\.conv\.weight", "res{layer}.{block}_branch{branch}_weights"),
        (rf"{at}conv(?P<branch>[123])\.bn\.{TORCH_STATISTICS}", "bn{layer}.{block}_branch{branch}_{stat}"),
        (rf"{at}downsample\.conv\.weight", "res{layer}.{block}_branch1_weights"),
        (rf"{at}downsample\.bn\.{TORCH_STATISTICS}", "bn{layer}.{block}_branch1_{stat}"),
        # ".0": g and phi are followed by their max pool.
        (
            rf"{nonlocal_at}(?P<conv>theta|phi|g|conv_out)(?:\.0)?\.conv\.(?P<part>weight|bias)",
            "nonlocal_conv{layer}_{block}_{conv}_{part}",
        ),
        (rf"{nonlocal_at}conv_out\.bn\.{TORCH_STATISTICS}", "nonlocal_conv{layer}_{block}_bn_{stat}"),
        (r"cls_head\.fc_cls\.(?P<part>weight|bias)", "pred_{part}"),
    )


MMACTION2 = Dialect(
    "MMAction2 names",
    rules=_mmaction2_rules("", ""),
    words=_WORDS,
    skipped=rf"{_COUNTERS}|data_preprocessor\..*",
    is_of=lambda arrays: not _is_shifted(arrays),
    lineages=("mmaction2", "mmaction2_heavy"),
)
MMACTION2_TSM = Dialect(
    "MMAction2 TSM names",
    # In R101 every second block has no shift, and so no "net"; blocks before a non-local one are called "block".
    rules=_mmaction2_rules(r"(?:\.net)?", r"(?:block\.)?"),
    words=_WORDS,
    skipped=rf"{_COUNTERS}|data_preprocessor\..*",
    is_of=_is_shifted,
    lineages=("mmaction2",),
)


def _pytorchvideo_rules(stages: Mapping[str, str], pathway: str = "", prefix: str = "") -> Rules:
    """The rules of a network but for its classifier.

    Args:
        stages: by number of a block of the network; pool2, where there is one, is a block too.
        pathway: what comes behind the number of the block, as a pattern.
        prefix: of the neutral names.
    """
    at = rf"blocks\.(?P<number>[{''.join(stages)}])\.{pathway}res_blocks\.{_BLOCK}\."
    rules = (
        (rf"blocks\.0\.{pathway}conv\.weight", "conv1_weights"),
        (rf"blocks\.0\.{pathway}norm\.{TORCH_STATISTICS}", "bn_conv1_{stat}"),
        (rf"{at}branch1_conv\.weight", "res{number}.{block}_branch1_weights"),
        (rf"{at}branch1_norm\.{TORCH_STATISTICS}", "bn{number}.{block}_branch1_{stat}"),
        (rf"{at}branch2\.conv_(?P<branch>[abc])\.weight", "res{number}.{block}_branch{branch}_weights"),
        (rf"{at}branch2\.norm_(?P<branch>[abc])\.{TORCH_STATISTICS}", "bn{number}.{block}_branch{branch}_{stat}"),
    )
    return tuple((pattern, prefix + template) for pattern, template in rules)


def _pytorchvideo(title: str, rules: Rules, stages: Mapping[str, str], head: int) -> Dialect:
    return Dialect(
        title,
        rules=(*rules, (rf"blocks\.{head}\.proj\.(?P<part>weight|bias)", "pred_{part}")),
        words={**_WORDS, "number": stages.__getitem__, "lateral": _next_number},
        skipped=_COUNTERS,
        lineages=("pytorchvideo",),
    )


_WITH_POOL2 = {"1": "2", "3": "3", "4": "4", "5": "5"}
_WITHOUT_POOL2 = {"1": "2", "2": "3", "3": "4", "4": "5"}
PYTORCHVIDEO = _pytorchvideo("PyTorchVideo names", _pytorchvideo_rules(_WITH_POOL2), _WITH_POOL2, 6)
PYTORCHVIDEO_SLOW = _pytorchvideo(
    "PyTorchVideo names, without pool2", _pytorchvideo_rules(_WITHOUT_POOL2), _WITHOUT_POOL2, 5
)
_FUSION = r"blocks\.(?P<lateral>[0-3])\.multipathway_fusion\."
PYTORCHVIDEO_SLOWFAST = _pytorchvideo(
    "PyTorchVideo SlowFast names",
    (
        (rf"{_FUSION}conv_fast_to_slow\.weight", "lateral{lateral}_weights"),
        (rf"{_FUSION}norm\.{TORCH_STATISTICS}", "lateral{lateral}_bn_{stat}"),
        *_pytorchvideo_rules(_WITHOUT_POOL2, r"multipathway_blocks\.0\."),
        *_pytorchvideo_rules(_WITHOUT_POOL2, r"multipathway_blocks\.1\.", "t_"),
    ),
    _WITHOUT_POOL2,
    6,
)

_GLUON = rf"res_layers\.(?P<group>[0-3])\.{_BLOCK}\."
GLUONCV = Dialect(
    "GluonCV names",
    rules=(
        (r"first_stage\.0\.weight", "conv1_weights"),
        (rf"first_stage\.1\.{TORCH_STATISTICS}", "bn_conv1_{stat}"),
        (rf"{_GLUON}conv(?P<branch>[123])\.weight", "res{group}.{block}_branch{branch}_weights"),
        (rf"{_GLUON}bn(?P<branch>[123])\.{TORCH_STATISTICS}", "bn{group}.{block}_branch{branch}_{stat}"),
        (rf"{_GLUON}downsample\.0\.weight", "res{group}.{block}_branch1_weights"),
        (rf"{_GLUON}downsample\.1\.{TORCH_STATISTICS}", "bn{group}.{block}_branch1_{stat}"),
        (
            rf"{_GLUON}nonlocal_block\.(?P<conv>theta|phi|g|W)\.(?P<part>weight|bias)",
            "nonlocal_conv{group}_{block}_{conv}_{part}",
        ),
        (rf"{_GLUON}nonlocal_block\.bn\.{TORCH_STATISTICS}", "nonlocal_conv{group}_{block}_bn_{stat}"),
        # The same tensors a second time.
        (rf"{_GLUON}nonlocal_block\.W_bn\.0\.(?P<part>weight|bias)", "nonlocal_conv{group}_{block}_out_{part}"),
        (rf"{_GLUON}nonlocal_block\.W_bn\.1\.{TORCH_STATISTICS}", "nonlocal_conv{group}_{block}_bn_{stat}"),
        (r"(?:fc|head\.1)\.(?P<part>weight|bias)", "pred_{part}"),
    ),
    words=_WORDS,
    skipped=_COUNTERS,
    lineages=("gluoncv",),
)

_LAYER = rf"layer(?P<layer>[1-4])\.{_BLOCK}\."
PYTORCH_RESNET3D = Dialect(
    "pytorch-resnet3d names",
    rules=(
        *RESNET.rules,
        (
            rf"{_LAYER}nl\.(?P<conv>theta|phi|g|out)\.(?P<part>weight|bias)",
            "nonlocal_conv{layer}_{block}_{conv}_{part}",
        ),
        (rf"{_LAYER}nl\.bn\.{TORCH_STATISTICS}", "nonlocal_conv{layer}_{block}_bn_{stat}"),
    ),
    words=_WORDS,
    skipped=RESNET.skipped,
    is_of=lambda arrays: any(name.endswith("conv1.weight") and value.ndim == 5 for name, value in arrays.items()),
    lineages=("pytorch_resnet3d",),
)

_TSM = rf"base_model\.{_LAYER}"
TSM_AUTHORS = Dialect(
    "names of the TSM authors",
    rules=(
        (r"base_model\.conv1\.weight", "conv1_weights"),
        (rf"base_model\.bn1\.{TORCH_STATISTICS}", "bn_conv1_{stat}"),
        (rf"{_TSM}(?:block\.)?conv(?P<branch>1)(?:\.net)?\.weight", "res{layer}.{block}_branch{branch}_weights"),
        (rf"{_TSM}(?:block\.)?conv(?P<branch>[23])\.weight", "res{layer}.{block}_branch{branch}_weights"),
        (rf"{_TSM}(?:block\.)?bn(?P<branch>[123])\.{TORCH_STATISTICS}", "bn{layer}.{block}_branch{branch}_{stat}"),
        (rf"{_TSM}(?:block\.)?downsample\.0\.weight", "res{layer}.{block}_branch1_weights"),
        (rf"{_TSM}(?:block\.)?downsample\.1\.{TORCH_STATISTICS}", "bn{layer}.{block}_branch1_{stat}"),
        (rf"{_TSM}nl\.(?P<conv>theta)\.(?P<part>weight|bias)", "nonlocal_conv{layer}_{block}_{conv}_{part}"),
        (rf"{_TSM}nl\.(?P<conv>phi|g|W)\.0\.(?P<part>weight|bias)", "nonlocal_conv{layer}_{block}_{conv}_{part}"),
        (rf"{_TSM}nl\.W\.1\.{TORCH_STATISTICS}", "nonlocal_conv{layer}_{block}_bn_{stat}"),
        (r"new_fc\.(?P<part>weight|bias)", "pred_{part}"),
    ),
    words=_WORDS,
    skipped=_COUNTERS,
    is_of=_is_shifted,
    lineages=("tsm",),
)


_IMAGENET_CLASSES = 1000


def _is_old_zoo(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether the classifier has a name of Paddle's own, as that of TSM, and is not one for ImageNet."""
    return "fc_0.w_0" in arrays and arrays["fc_0.w_0"].shape[-1] != _IMAGENET_CLASSES


OLD_ZOO_TSM = replace(
    RELEASED,
    title="TSM of the old Paddle zoo",
    rules=(*RELEASED.rules, (r"fc_0\.(?P<part>[wb])_0", "pred_{part}")),
    skipped=RELEASED.skipped.replace(r"|fc_0\..*", ""),
    is_of=_is_old_zoo,
    lineages=("paddlevideo",),
    doubt="the old Paddle zoo's TSN has the same names and shapes, and shifts nothing: this file is taken for its TSM",
)

_PADDLE = r"backbone\.res(?P<stage>[2-5])(?P<letters>b\d{1,2}|[a-z])\."
PADDLEVIDEO_TSM = Dialect(
    "PaddleVideo TSM names",
    rules=(
        (r"backbone\.conv\._conv\.weight", "conv1_weights"),
        (rf"backbone\.conv\._batch_norm\.{TORCH_STATISTICS}", "bn_conv1_{stat}"),
        (rf"{_PADDLE}conv(?P<branch>[012])\._conv\.weight", "res{stage}.{letters}_branch{branch}_weights"),
        (
            rf"{_PADDLE}conv(?P<branch>[012])\._batch_norm\.{TORCH_STATISTICS}",
            "bn{stage}.{letters}_branch{branch}_{stat}",
        ),
        (rf"{_PADDLE}short\._conv\.weight", "res{stage}.{letters}_branch1_weights"),
        (rf"{_PADDLE}short\._batch_norm\.{TORCH_STATISTICS}", "bn{stage}.{letters}_branch1_{stat}"),
        (r"head\.fc\.(?P<part>weight|bias)", "pred_{part}"),
    ),
    words={
        **_WORDS,
        "branch": {"0": "2a", "1": "2b", "2": "2c"}.__getitem__,
        "letters": RELEASED.words["letters"],
    },
    skipped=r"StructuredToParameterName@@",
    head_is_out_in=False,
    lineages=("paddlevideo",),
)


def _two_pathways(rules: Rules, change: tuple[str, str], names: tuple[str, str], laterals: Rules) -> Rules:
    """The rules of two pathways, from those of one: in its patterns `change[0]` stands for what pathways are called.

    Args:
        change: the text that is replaced, and a format for what replaces it.
        names: of the slow and the fast pathway.
    """
    found = list(laterals)
    for name, prefix in zip(names, ("", "t_"), strict=True):
        for pattern, template in rules:
            if not template.startswith("pred"):
                found.append((pattern.replace(change[0], change[1].format(name)), prefix + template))
            elif not prefix:
                found.append((pattern, template))
    return tuple(found)


def _laterals(convolution: str, norm: str) -> Rules:
    return (
        (convolution, "lateral{number}_weights"),
        (rf"{norm}\.{TORCH_STATISTICS}", "lateral{number}_bn_{stat}"),
    )


_FUSE = r"s(?P<number>[1-4])_fuse\."
SLOWFAST_TWO = replace(
    SLOWFAST,
    title="SlowFast names of two pathways",
    rules=_two_pathways(
        SLOWFAST.rules,
        ("pathway0", "pathway{}"),
        ("0", "1"),
        _laterals(rf"{_FUSE}conv_f2s\.weight", rf"{_FUSE}bn"),
    ),
    usual={},
    lineages=("pyslowfast",),
)


def _as_paddlevideo(pattern: str) -> str:
    """A pattern of SlowFast's names as PaddleVideo has it."""
    if pattern.startswith("head"):
        return pattern
    return r"backbone\." + pattern.replace(r"_stem\.conv", r"_stem\._conv").replace(r"_stem\.bn", r"_stem\._bn")


PADDLEVIDEO_SLOWFAST = Dialect(
    "PaddleVideo SlowFast names",
    rules=_two_pathways(
        tuple((_as_paddlevideo(pattern), template) for pattern, template in SLOWFAST.rules),
        ("pathway0", "pathway{}"),
        ("0", "1"),
        _laterals(rf"backbone\.{_FUSE}_conv_f2s\.weight", rf"backbone\.{_FUSE}_bn"),
    ),
    words=SLOWFAST.words,
    skipped=r"StructuredToParameterName@@",
    head_is_out_in=False,
    lineages=("paddlevideo",),
)
_MM_LATERAL = r"backbone\.slow_path\.(?P<number>conv1|layer[123])_lateral"
MMACTION2_SLOWFAST = Dialect(
    "MMAction2 SlowFast names",
    rules=_two_pathways(
        _mmaction2_rules("", ""),
        (r"backbone\.", r"backbone\.{}_path\."),
        ("slow", "fast"),
        _laterals(rf"{_MM_LATERAL}\.conv\.weight", rf"{_MM_LATERAL}\.bn"),
    ),
    words={**_WORDS, "number": {"conv1": "1", "layer1": "2", "layer2": "3", "layer3": "4"}.__getitem__},
    skipped=MMACTION2.skipped,
    lineages=("mmaction2",),
)
_AFTER = r"t_(?P<number>pool1|res[234]_\d{1,2}_branch2c_bn)_subsample"
CAFFE2_TWO = replace(
    CAFFE2,
    title="Caffe2 names of two pathways",
    rules=(
        (rf"{_AFTER}_w", "lateral{number}_weights"),
        (rf"{_AFTER}_bn_(?P<stat>s|b|rm|riv)", "lateral{number}_bn_{stat}"),
        *CAFFE2.rules,
        *((f"t_{pattern}", f"t_{template}") for pattern, template in CAFFE2.rules if "pred" not in pattern),
    ),
    words={**CAFFE2.words, "number": lambda place: "1" if place == "pool1" else place[3]},
    lineages=("pyslowfast",),
)

# Of each network; the first one is what the network itself is called by.
NONLOCAL_DIALECTS = (RELEASED, CAFFE2, PYTORCH_RESNET3D, RESNET, SLOWFAST, MMACTION2, PYTORCHVIDEO, GLUONCV)
SLOWONLY_DIALECTS = (RELEASED, CAFFE2, RESNET, SLOWFAST, MMACTION2, PYTORCHVIDEO_SLOW)
SLOWFAST_DIALECTS = (
    RELEASED,
    CAFFE2_TWO,
    SLOWFAST_TWO,
    MMACTION2_SLOWFAST,
    PYTORCHVIDEO_SLOWFAST,
    PADDLEVIDEO_SLOWFAST,
)
TSM_DIALECTS = (RELEASED, OLD_ZOO_TSM, RESNET, TSM_AUTHORS, MMACTION2_TSM, PADDLEVIDEO_TSM)
