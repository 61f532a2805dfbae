"""What the video zoos call a parameter that this toolkit calls ``res3b_branch2a_weights`` and so on (R50).

One function for each system, written after its own code. Each returns the name there.
"""

import re

TORCH = {"scale": "weight", "offset": "bias", "mean": "running_mean", "variance": "running_var"}
PADDLE = {"scale": "weight", "offset": "bias", "mean": "_mean", "variance": "_variance"}
PART = {"w": "weight", "b": "bias"}


def _block(letters):
    return int(letters[1:]) if len(letters) > 1 else ord(letters) - ord("a")  # a, b1, b2, ... in res4 of R101


def parsed(name):
    """(kind, fast, stage, block, branch or convolution, statistic or part)."""
    fast = name.startswith("t_")
    name = name.removeprefix("t_")
    if match := re.fullmatch(r"pred_([wb])", name):
        return "head", fast, 0, 0, "", match[1]
    if name == "conv1_weights":
        return "stem", fast, 1, 0, "", ""
    if match := re.fullmatch(r"bn_conv1_(\w+)", name):
        return "stem_bn", fast, 1, 0, "", match[1]
    if match := re.fullmatch(r"res(\d)(\w+?)_branch(\w+)_weights", name):
        return "conv", fast, int(match[1]), _block(match[2]), match[3], ""
    if match := re.fullmatch(r"bn(\d)(\w+?)_branch(\w+?)_(\w+)", name):
        return "bn", fast, int(match[1]), _block(match[2]), match[3], match[4]
    if match := re.fullmatch(r"lateral(\d)_weights", name):
        return "lateral", fast, int(match[1]), 0, "", ""
    if match := re.fullmatch(r"lateral(\d)_bn_(\w+)", name):
        return "lateral_bn", fast, int(match[1]), 0, "", match[2]
    if match := re.fullmatch(r"nonlocal_conv(\d)_(\d+)_bn_(\w+)", name):
        return "nl_bn", fast, int(match[1]), int(match[2]), "", match[3]
    match = re.fullmatch(r"nonlocal_conv(\d)_(\d+)_(\w+)_([wb])", name)
    return "nl", fast, int(match[1]), int(match[2]), match[3], match[4]


def mmaction2(name, *, shifted=False, nonlocal_blocks=(), two=False):
    kind, fast, stage, block, what, last = parsed(name)
    root = "backbone." + (("fast_path." if fast else "slow_path.") if two else "")
    wrapped = "block." if shifted and (stage, block) in nonlocal_blocks else ""
    at = f"{root}layer{stage - 1}.{block}."
    unit = {"2a": "conv1", "2b": "conv2", "2c": "conv3", "1": "downsample"}.get(what)
    lateral = f"backbone.slow_path.{'conv1' if stage == 1 else f'layer{stage - 1}'}_lateral"
    return {
        "head": lambda: f"cls_head.fc_cls.{PART[last]}",
        "stem": lambda: f"{root}conv1.conv.weight",
        "stem_bn": lambda: f"{root}conv1.bn.{TORCH[last]}",
        "conv": lambda: f"{at}{wrapped}{unit}.conv{'.net' if shifted and what == '2a' else ''}.weight",
        "bn": lambda: f"{at}{wrapped}{unit}.bn.{TORCH[last]}",
        "lateral": lambda: f"{lateral}.conv.weight",
        "nl": lambda: f"{at}non_local_block.{_mmcv(what)}.conv.{PART[last]}",
        "nl_bn": lambda: f"{at}non_local_block.conv_out.bn.{TORCH[last]}",
    }[kind]()


def _mmcv(convolution):
    return {"theta": "theta", "phi": "phi.0", "g": "g.0", "out": "conv_out"}[convolution]


def pytorchvideo(name, *, pool2=False, two=False):
    kind, fast, stage, block, what, last = parsed(name)
    number = {2: 1, 3: 3, 4: 4, 5: 5} if pool2 else {2: 1, 3: 2, 4: 3, 5: 4}
    pathway = f"multipathway_blocks.{int(fast)}." if two else ""
    at = f"blocks.{number.get(stage)}.{pathway}res_blocks.{block}."
    fusion = f"blocks.{stage - 1}.multipathway_fusion."
    convolution, norm = (
        ("branch1_conv", "branch1_norm") if what == "1" else (f"branch2.conv_{what[1:]}", f"branch2.norm_{what[1:]}")
    )
    return {
        "head": lambda: f"blocks.{6 if pool2 or two else 5}.proj.{PART[last]}",
        "stem": lambda: f"blocks.0.{pathway}conv.weight",
        "stem_bn": lambda: f"blocks.0.{pathway}norm.{TORCH[last]}",
        "conv": lambda: f"{at}{convolution}.weight",
        "bn": lambda: f"{at}{norm}.{TORCH[last]}",
        "lateral": lambda: f"{fusion}conv_fast_to_slow.weight",
        "lateral_bn": lambda: f"{fusion}norm.{TORCH[last]}",
    }[kind]()


def gluoncv(name):
    kind, _, stage, block, what, last = parsed(name)
    at = f"res_layers.{stage - 2}.{block}."
    number = {"2a": 1, "2b": 2, "2c": 3}.get(what)
    convolution, norm = (f"conv{number}", f"bn{number}") if number else ("downsample.0", "downsample.1")
    return {
        "head": lambda: f"fc.{PART[last]}",
        "stem": lambda: "first_stage.0.weight",
        "stem_bn": lambda: f"first_stage.1.{TORCH[last]}",
        "conv": lambda: f"{at}{convolution}.weight",
        "bn": lambda: f"{at}{norm}.{TORCH[last]}",
        "nl": lambda: f"{at}nonlocal_block.{'W' if what == 'out' else what}.{PART[last]}",
        "nl_bn": lambda: f"{at}nonlocal_block.bn.{TORCH[last]}",
    }[kind]()


def pytorch_resnet3d(name):
    kind, _, stage, block, what, last = parsed(name)
    at = f"layer{stage - 1}.{block}."
    number = {"2a": 1, "2b": 2, "2c": 3}.get(what)
    convolution, norm = (f"conv{number}", f"bn{number}") if number else ("downsample.0", "downsample.1")
    return {
        "head": lambda: f"fc.{PART[last]}",
        "stem": lambda: "conv1.weight",
        "stem_bn": lambda: f"bn1.{TORCH[last]}",
        "conv": lambda: f"{at}{convolution}.weight",
        "bn": lambda: f"{at}{norm}.{TORCH[last]}",
        "nl": lambda: f"{at}nl.{what}.{PART[last]}",
        "nl_bn": lambda: f"{at}nl.bn.{TORCH[last]}",
    }[kind]()


def tsm(name, *, nonlocal_blocks=()):
    kind, _, stage, block, what, last = parsed(name)
    at = f"module.base_model.layer{stage - 1}.{block}."
    inner = at + ("block." if (stage, block) in nonlocal_blocks else "")
    number = {"2a": 1, "2b": 2, "2c": 3}.get(what)
    convolution, norm = (f"conv{number}", f"bn{number}") if number else ("downsample.0", "downsample.1")
    place = {"theta": "theta", "phi": "phi.0", "g": "g.0", "out": "W.0"}.get(what)
    return {
        "head": lambda: f"module.new_fc.{PART[last]}",
        "stem": lambda: "module.base_model.conv1.weight",
        "stem_bn": lambda: f"module.base_model.bn1.{TORCH[last]}",
        "conv": lambda: f"{inner}{convolution}{'.net' if what == '2a' else ''}.weight",
        "bn": lambda: f"{inner}{norm}.{TORCH[last]}",
        "nl": lambda: f"{at}nl.{place}.{PART[last]}",
        "nl_bn": lambda: f"{at}nl.W.1.{TORCH[last]}",
    }[kind]()


def slowfast(name, *, paddle=False):
    """PySlowFast's names of two pathways; PaddleVideo's are nearly the same."""
    kind, fast, stage, block, what, last = parsed(name)
    root, mark, stat = ("backbone.", "_", PADDLE) if paddle else ("", "", TORCH)
    at = f"{root}s{stage}.pathway{int(fast)}_"
    branch = "branch1" if what == "1" else f"branch2.{what[1:]}"
    return {
        "head": lambda: f"head.projection.{PART[last]}",
        "stem": lambda: f"{at}stem.{mark}conv.weight",
        "stem_bn": lambda: f"{at}stem.{mark}bn.{stat[last]}",
        "conv": lambda: f"{at}res{block}.{branch}.weight",
        "bn": lambda: f"{at}res{block}.{branch}_bn.{stat[last]}",
        "lateral": lambda: f"{root}s{stage}_fuse.{mark}conv_f2s.weight",
        "lateral_bn": lambda: f"{root}s{stage}_fuse.{mark}bn.{stat[last]}",
        "nl": lambda: f"{at}nonlocal{block}.conv_{what}.{PART[last]}",
        "nl_bn": lambda: f"{at}nonlocal{block}.bn.{stat[last]}",
    }[kind]()


def caffe2_two_pathways(name):
    kind, fast, stage, block, what, last = parsed(name)
    t, short = "t_" if fast else "", {"scale": "s", "offset": "b", "mean": "rm", "variance": "riv"}.get(last)
    at = f"{t}res{stage}_{block}_branch{what}"
    lateral = (
        "t_pool1_subsample" if stage == 1 else f"t_res{stage}_{ {2: 2, 3: 3, 4: 5}.get(stage) }_branch2c_bn_subsample"
    )
    return {
        "head": lambda: f"pred_{last}",
        "stem": lambda: f"{t}conv1_w",
        "stem_bn": lambda: f"{t}res_conv1_bn_{short}",
        "conv": lambda: f"{at}_w",
        "bn": lambda: f"{at}_bn_{short}",
        "lateral": lambda: f"{lateral}_w",
        "lateral_bn": lambda: f"{lateral}_bn_{short}",
    }[kind]()


def paddlevideo_tsm(name, *, deep=False):
    kind, _, stage, block, what, last = parsed(name)
    letters = f"b{block}" if deep and stage == 4 and block else "abcdef"[block]
    at = f"backbone.res{stage}{letters}."
    unit = {"2a": "conv0", "2b": "conv1", "2c": "conv2", "1": "short"}.get(what)
    return {
        "head": lambda: f"head.fc.{PART[last]}",
        "stem": lambda: "backbone.conv._conv.weight",
        "stem_bn": lambda: f"backbone.conv._batch_norm.{PADDLE[last]}",
        "conv": lambda: f"{at}{unit}._conv.weight",
        "bn": lambda: f"{at}{unit}._batch_norm.{PADDLE[last]}",
    }[kind]()
