"""The parameters of a ResNet-50 C2D network (with non-local blocks) in the order and under the names of each system.

Every function maps released names to the names elsewhere, spelled out by loops over stages and blocks.
"""

BLOCKS = {2: 3, 3: 4, 4: 6, 5: 3}
LETTERS = "abcdefghijklmnopqrstuvwxyz"
NONLOCAL = [(3, 1), (3, 3), (4, 1), (4, 3), (4, 5)]
BN = ("scale", "offset", "mean", "variance")


def _residual_blocks(blocks):
    for stage, count in blocks.items():
        for block in range(count):
            branches = ["2a", "2b", "2c", *(["1"] if block == 0 else [])]
            for branch in branches:
                yield stage, block, branch


def caffe2(blocks=BLOCKS, *, nonlocal_blocks=NONLOCAL, head=True):
    names = {"conv1_weights": "conv1_w"}
    parts = dict(zip(BN, ("s", "b", "rm", "riv"), strict=True))
    names |= {f"bn_conv1_{part}": f"res_conv1_bn_{short}" for part, short in parts.items()}
    for stage, block, branch in _residual_blocks(blocks):
        there = f"res{stage}_{block}_branch{branch}"
        here = f"{stage}{LETTERS[block]}_branch{branch}"
        names[f"res{here}_weights"] = f"{there}_w"
        names |= {f"bn{here}_{part}": f"{there}_bn_{short}" for part, short in parts.items()}
    for stage, block in nonlocal_blocks:
        prefix = f"nonlocal_conv{stage}_{block}"
        for conv in ("theta", "phi", "g", "out"):
            names |= {f"{prefix}_{conv}_{part}": f"{prefix}_{conv}_{part}" for part in "wb"}
        names |= {f"{prefix}_bn_{part}": f"{prefix}_bn_{short}" for part, short in parts.items()}
    if head:
        names |= {"pred_w": "pred_w", "pred_b": "pred_b"}
    return names


def _resnet(statistics):
    parts = dict(zip(BN, statistics, strict=True))
    names = {"conv1_weights": "conv1.weight"}
    names |= {f"bn_conv1_{part}": f"bn1.{there}" for part, there in parts.items()}
    for stage, block, branch in _residual_blocks(BLOCKS):
        layer = f"layer{stage - 1}.{block}"
        here = f"{stage}{LETTERS[block]}_branch{branch}"
        number = {"2a": 1, "2b": 2, "2c": 3}.get(branch)
        convolution, norm = (f"conv{number}", f"bn{number}") if number else ("downsample.0", "downsample.1")
        names[f"res{here}_weights"] = f"{layer}.{convolution}.weight"
        names |= {f"bn{here}_{part}": f"{layer}.{norm}.{there}" for part, there in parts.items()}
    return names | {"pred_w": "fc.weight", "pred_b": "fc.bias"}


def torchvision():
    return _resnet(("weight", "bias", "running_mean", "running_var"))


def paddle_vision():
    return _resnet(("weight", "bias", "_mean", "_variance"))


def slowfast():
    parts = dict(zip(BN, ("weight", "bias", "running_mean", "running_var"), strict=True))
    names = {"conv1_weights": "s1.pathway0_stem.conv.weight"}
    names |= {f"bn_conv1_{part}": f"s1.pathway0_stem.bn.{there}" for part, there in parts.items()}
    for stage, block, branch in _residual_blocks(BLOCKS):
        place = f"s{stage}.pathway0_res{block}."
        place += "branch1" if branch == "1" else f"branch2.{branch[1]}"
        here = f"{stage}{LETTERS[block]}_branch{branch}"
        names[f"res{here}_weights"] = f"{place}.weight"
        names |= {f"bn{here}_{part}": f"{place}_bn.{there}" for part, there in parts.items()}
    for stage, block in NONLOCAL:
        place, here = f"s{stage}.pathway0_nonlocal{block}", f"nonlocal_conv{stage}_{block}"
        for conv in ("theta", "phi", "g", "out"):
            names |= {
                f"{here}_{conv}_w": f"{place}.conv_{conv}.weight",
                f"{here}_{conv}_b": f"{place}.conv_{conv}.bias",
            }
        names |= {f"{here}_bn_{part}": f"{place}.bn.{there}" for part, there in parts.items()}
    return names | {"pred_w": "head.projection.weight", "pred_b": "head.projection.bias"}
