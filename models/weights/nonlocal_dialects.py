"""What the authors, torchvision and SlowFast call the parameters of ResNets with non-local blocks, and one neutral name
for all.

The neutral names are the released ones with block numbers in place of letters and without the mark of grouped
blocks: ``res4.13_branch2a_weights`` for both ``res4b13_branch2a_weights`` and ``res4n_branch2a_weights``,
``nonlocal_conv3_1_g_w`` for ``nonlocal_conv3_group_1_g_w`` too.
"""

import re
from collections.abc import Iterable

from models.weights.dialects import Dialect


def _block_number(letters: str) -> str:
    """Number of a residual block from its released letters.

    >>> _block_number("a"), _block_number("c"), _block_number("b13")
    ('0', '2', '13')
    """
    return letters[1:] or str(ord(letters) - ord("a"))


def stage_of_layer(layer: str) -> str:
    return str(int(layer) + 1)


_PADDED_POOL1 = {"MODEL.pool1_padding": 1}

_STATISTICS = "(?P<stat>scale|offset|mean|variance)"
TORCH_STATISTICS = "(?P<stat>weight|bias|running_mean|running_var|_mean|_variance)"
TORCH_STATISTIC_NAMES = {
    "weight": "scale", "bias": "offset", "running_mean": "mean", "running_var": "variance", "_mean": "mean",
    "_variance": "variance",
}  # fmt: skip
BRANCHES = {"1": "2a", "2": "2b", "3": "2c", "branch1": "1", "branch2.a": "2a", "branch2.b": "2b", "branch2.c": "2c"}

RELEASED = Dialect(
    "released names",
    rules=(
        # "t_": of the fast pathway of SLOWFAST
        ("(?P<name>(?:t_)?conv1_weights|pred_[wb]|lateral[1-4]_weights)", "{name}"),
        (f"(?P<path>t_)?bn_conv1_{_STATISTICS}", "{path}bn_conv1_{stat}"),
        (
            r"(?P<path>t_)?res(?P<stage>[2-5])(?P<letters>b\d{1,2}|[a-z])_branch(?P<branch>1|2[abc])_weights",
            "{path}res{stage}.{letters}_branch{branch}_weights",
        ),
        (
            rf"(?P<path>t_)?bn(?P<stage>[2-5])(?P<letters>b\d{{1,2}}|[a-z])_branch(?P<branch>1|2[abc])_{_STATISTICS}",
            "{path}bn{stage}.{letters}_branch{branch}_{stat}",
        ),
        (f"lateral(?P<number>[1-4])_bn_{_STATISTICS}", "lateral{number}_bn_{stat}"),
        (
            r"nonlocal_conv(?P<stage>[2-5])_(?:group_)?(?P<block>\d{1,2})_"
            r"(?P<rest>(?:theta|phi|g|out)_[wb]|concat_w|affine_[sb]|bn_(?:scale|offset|mean|variance))",
            "nonlocal_conv{stage}_{block}_{rest}",
        ),
    ),
    words={"letters": _block_number},
    skipped=r".*_(velocity|moment[12]|beta[12]_pow_acc)_\d+|learning_rate.*|@LR_DECAY_COUNTER@|fc_0\..*"
    r"|StructuredToParameterName@@",
    head_is_out_in=False,
)

CAFFE2 = Dialect(
    "Caffe2 names of the authors",
    rules=(
        ("conv1_w", "conv1_weights"),
        ("(?P<name>pred_[wb])", "{name}"),
        ("res_conv1_bn_(?P<stat>s|b|rm|riv)", "bn_conv1_{stat}"),
        (
            r"res(?P<stage>[2-5])_(?P<block>\d{1,2})_branch(?P<branch>1|2[abc])_w",
            "res{stage}.{block}_branch{branch}_weights",
        ),
        (
            r"res(?P<stage>[2-5])_(?P<block>\d{1,2})_branch(?P<branch>1|2[abc])_bn_(?P<stat>s|b|rm|riv)",
            "bn{stage}.{block}_branch{branch}_{stat}",
        ),
        (
            r"nonlocal_conv(?P<stage>[2-5])_(?P<block>\d{1,2})_bn_(?P<stat>s|b|rm|riv)",
            "nonlocal_conv{stage}_{block}_bn_{stat}",
        ),
        (
            r"nonlocal_conv(?P<stage>[2-5])_(?P<block>\d{1,2})_(?P<rest>(?:theta|phi|g|out)_[wb])",
            "nonlocal_conv{stage}_{block}_{rest}",
        ),
    ),
    words={"stat": {"s": "scale", "b": "offset", "rm": "mean", "riv": "variance"}.__getitem__},
    skipped=r".*_(momentum|grad|it)|model_iter|lr|weight_order|.*(iteration|counter).*",
    lineages=("authors", "pyslowfast", "pyslowfast_nopool"),
)

RESNET = Dialect(
    "torchvision or paddle.vision ResNet",
    rules=(
        ("conv1.weight", "conv1_weights"),
        (rf"bn1\.{TORCH_STATISTICS}", "bn_conv1_{stat}"),
        (
            r"layer(?P<layer>[1-4])\.(?P<block>\d{1,2})\.conv(?P<branch>[123])\.weight",
            "res{layer}.{block}_branch{branch}_weights",
        ),
        (
            rf"layer(?P<layer>[1-4])\.(?P<block>\d{{1,2}})\.bn(?P<branch>[123])\.{TORCH_STATISTICS}",
            "bn{layer}.{block}_branch{branch}_{stat}",
        ),
        (
            r"layer(?P<layer>[1-4])\.(?P<block>\d{1,2})\.downsample\.0\.weight",
            "res{layer}.{block}_branch1_weights",
        ),
        (
            rf"layer(?P<layer>[1-4])\.(?P<block>\d{{1,2}})\.downsample\.1\.{TORCH_STATISTICS}",
            "bn{layer}.{block}_branch1_{stat}",
        ),
        (r"fc\.weight", "pred_w"),
        (r"fc\.bias", "pred_b"),
    ),
    words={"layer": stage_of_layer, "branch": BRANCHES.__getitem__, "stat": TORCH_STATISTIC_NAMES.__getitem__},
    skipped=r".*\.num_batches_tracked|StructuredToParameterName@@",
    usual=_PADDED_POOL1,
)

SLOWFAST = Dialect(
    "SlowFast names",
    rules=(
        (r"s1\.pathway0_stem\.conv\.weight", "conv1_weights"),
        (rf"s1\.pathway0_stem\.bn\.{TORCH_STATISTICS}", "bn_conv1_{stat}"),
        (
            r"s(?P<stage>[2-5])\.pathway0_res(?P<block>\d{1,2})\.(?P<branch>branch1|branch2\.[abc])\.weight",
            "res{stage}.{block}_branch{branch}_weights",
        ),
        (
            rf"s(?P<stage>[2-5])\.pathway0_res(?P<block>\d{{1,2}})\.(?P<branch>branch1|branch2\.[abc])_bn\.{TORCH_STATISTICS}",
            "bn{stage}.{block}_branch{branch}_{stat}",
        ),
        (
            r"s(?P<stage>[2-5])\.pathway0_nonlocal(?P<block>\d{1,2})\.conv_(?P<conv>theta|phi|g|out)\.(?P<part>weight|bias)",
            "nonlocal_conv{stage}_{block}_{conv}_{part}",
        ),
        (
            rf"s(?P<stage>[2-5])\.pathway0_nonlocal(?P<block>\d{{1,2}})\.bn\.{TORCH_STATISTICS}",
            "nonlocal_conv{stage}_{block}_bn_{stat}",
        ),
        (r"head\.projection\.(?P<part>weight|bias)", "pred_{part}"),
    ),
    words={
        "branch": BRANCHES.__getitem__,
        "stat": TORCH_STATISTIC_NAMES.__getitem__,
        "part": {"weight": "w", "bias": "b"}.__getitem__,
    },
    skipped=r".*\.num_batches_tracked",
    usual=_PADDED_POOL1,
    lineages=("pyslowfast", "pyslowfast_nopool", "authors"),
)


def released_names(neutral_names: Iterable[str]) -> dict[str, str]:
    """Neutral to released names. Blocks are letters, but numbers in a stage of more than six (res4 of R101).

    >>> list(released_names(["res4.5_branch1_weights", "pred_w"]).values())
    ['res4f_branch1_weights', 'pred_w']
    >>> list(released_names(["bn4.0_branch1_mean", "bn4.22_branch2a_mean"]).values())
    ['bn4a_branch1_mean', 'bn4b22_branch2a_mean']
    """
    parts = {name: re.fullmatch(r"((?:t_)?(?:res|bn))(\d)\.(\d+)(_.*)", name) for name in neutral_names}
    long_stages = {part[2] for part in parts.values() if part and int(part[3]) > 5}
    names = {}
    for name, part in parts.items():
        if part is None:
            names[name] = name
            continue
        kind, stage, block, rest = part.groups()
        numbered = stage in long_stages and block != "0"
        names[name] = f"{kind}{stage}{f'b{block}' if numbered else chr(ord('a') + int(block))}{rest}"
    return names
