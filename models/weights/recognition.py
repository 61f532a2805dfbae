"""Which network a weights file is of, told from its names, its shapes, and the settings that it may hold.

What none of these tells is left open: each possible value is a candidate, and a user must choose.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.lineages import LINEAGES
from models.registry import NETWORKS
from models.resnet_video import BLOCKS, CONV1_FRAMES, TEMPORAL_BLOCKS
from models.weights.dialects import FileArrays, NamedWeights, name_weights, without_wrappers
from models.weights.settings import stated_keys
from utils.errors import WeightsError

ASSUMED = ("SLOWFAST.alpha",)  # the likeliest value of these is taken where nothing tells
_ONE_OF_A_NETWORK = ("conv1_weights", "pred_w", "pred_b")  # neutral names
_WIDTH = 64  # channels of conv1 at width 1
_PAIRWISE = ("embedded_gaussian", "dot_product")  # what theta and phi serve
# Lineages whose non-local networks are all of one form.
_FORMS = {"gluoncv": "embedded_gaussian", "tsm": "embedded_gaussian", "pytorch_resnet3d": "embedded_gaussian"}


@dataclass(frozen=True)
class Recognised:
    """What a file was found to be.

    Args:
        network: name in the registry.
        format: what the file is, for messages.
        keys: ``SECTION.key`` to value.
        choices: the keys that nothing tells, and their possible values, the likeliest first.
        is_certain: not even a network of another name may have such a file.
    """

    network: str
    format: str
    keys: Mapping[str, Any]
    choices: Mapping[str, Sequence[Any]]
    is_certain: bool

    def candidates(self, given: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """Yield every possible choice.

        Args:
            given: keys that the user has chosen.
        """
        left = {key: values for key, values in self.choices.items() if key not in given}
        for values in itertools.product(*left.values()):
            yield dict(zip(left, values, strict=True))


def recognise(file: FileArrays) -> Recognised:
    """Find out what network a file is of.

    Raises:
        WeightsError: it is none that is known.
    """
    named, networks = best_naming(file)
    require_one_network(named)
    arrays = named.values
    if "conv1_weights" not in arrays or "pred_b" not in arrays:
        raise WeightsError(
            f"{file.source} ({named.format}): holds no whole network: its stem or its classifier is missing"
        )
    for name, value in arrays.items():
        is_kernel = name.endswith("_weights")
        if (is_kernel and value.ndim not in (4, 5)) or (name == "pred_b" and value.ndim != 1) or not value.size:
            raise WeightsError(
                f"{file.source}: {named.file_names[name]} has the shape {value.shape}: no such parameter"
            )
    facts = _Facts(arrays)
    stated = stated_keys(file.settings)
    possible = [stated["MODEL.name"]] if "MODEL.name" in stated else networks
    families = [_family(facts, name, file.source) for name in possible]
    family = families[0]
    keys: dict[str, Any] = {
        "MODEL.depth": facts.depth, "MODEL.width_mult": facts.width, "MODEL.num_classes": len(arrays["pred_b"]),
    }  # fmt: skip
    if stated.get("MODEL.multi_label"):
        keys["MODEL.multi_label"] = True
    choices: dict[str, Sequence[Any]] = {}
    network = "NONLOCAL" if family in ("C2D", "I3D") else family
    if network == "NONLOCAL":
        keys["MODEL.video_arc_choice"] = {("C2D", 50): 1, ("I3D", 50): 2, ("C2D", 101): 3, ("I3D", 101): 4}[
            family, facts.depth
        ]
    lineages = [stated.get("MODEL.lineage")]
    if lineages[0] not in LINEAGES[family]:
        lineages = _lineages(named, family, facts)
    _set_or_choose(keys, choices, "MODEL.lineage", lineages)
    for stage in (3, 4):
        keys[f"NONLOCAL.conv{stage}_nonlocal"] = bool(facts.positions[stage])
        keys[f"NONLOCAL.conv{stage}_positions"] = facts.positions[stage]
    if any(facts.positions.values()):
        _set_or_choose(keys, choices, "NONLOCAL.pairwise", _pairwise(facts, keys.get("MODEL.lineage"), stated))
    if network == "SLOWFAST":
        keys["SLOWFAST.beta_inv"] = round(arrays["conv1_weights"].shape[0] / arrays["t_conv1_weights"].shape[0])
        keys["SLOWFAST.fusion_kernel"] = arrays["lateral1_weights"].shape[2]
        _set_or_choose(keys, choices, "SLOWFAST.alpha", _alpha(keys["SLOWFAST.fusion_kernel"], stated))
    return Recognised(network, named.format, keys, choices, len(set(families)) == 1)


def recognised_keys(file: FileArrays) -> dict[str, Any]:
    """Return ``SECTION.key`` to value of what a file is; empty if it is no whole network, or may be of two."""
    try:
        found = recognise(file)
    except WeightsError:
        return {}
    return {"MODEL.name": found.network, **found.keys} if found.is_certain else {}


class _Facts:
    """What the shapes say."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.width = arrays["conv1_weights"].shape[0] / _WIDTH
        self.conv1_frames = _frames(arrays["conv1_weights"])
        counts = {
            stage: next(b for b in itertools.count() if f"res{stage}.{b}_branch2a_weights" not in arrays)
            for stage in (2, 3, 4, 5)
        }
        self.depth = next((depth for depth, blocks in BLOCKS.items() if tuple(counts.values()) == blocks), 0)
        self.counts = counts
        self.is_temporal = {
            stage: tuple(_frames(arrays[f"res{stage}.{block}_branch2a_weights"]) == 3 for block in range(count))
            for stage, count in counts.items()
        }
        self.positions = {
            stage: [b for b in range(counts[stage]) if f"nonlocal_conv{stage}_{b}_g_w" in arrays] for stage in (3, 4)
        }
        self.has_theta = any(name.endswith("_theta_w") for name in arrays)
        self.has_concat = any(name.endswith("_concat_w") for name in arrays)
        self.has_pathways = "t_conv1_weights" in arrays


def _frames(kernel: np.ndarray) -> int:
    return kernel.shape[2] if kernel.ndim == 5 else 1


def best_naming(file: FileArrays) -> tuple[NamedWeights, list[str]]:
    """Name the values by the dialect, of those of all networks, that knows most of the names.

    Returns:
        The names, and the networks that have this dialect or one that knows as much, the likeliest first.

    Raises:
        WeightsError: none knows half of them.
    """
    namings, error = [], None
    for network, entry in NETWORKS.items():
        if not (dialects := entry.weight_dialects()):
            continue  # only files of this toolkit are its own
        try:
            namings.append((name_weights(file, dialects), network))
        except WeightsError as caught:
            error = error or caught
    if not namings:
        raise error or WeightsError(f"{file.source}: no network is known")
    known = [len(named.values) - len(named.unknown) for named, _ in namings]
    best = [naming for naming, count in zip(namings, known, strict=True) if count == max(known)]
    return best[0][0], [network for _, network in best]


def require_one_network(named: NamedWeights) -> None:
    """Refuse a file in which the names of a second network stand beside those that were understood.

    Raises:
        WeightsError: a stem or a classifier is among the names that mean nothing to the dialect.
    """
    dialects = {dialect.title: dialect for entry in NETWORKS.values() for dialect in entry.weight_dialects()}
    for title, dialect in dialects.items():
        for name in named.unknown:
            if dialect.neutral_name(without_wrappers(name)) in _ONE_OF_A_NETWORK:
                raise WeightsError(
                    f"{named.source} ({named.format}): holds a second network ({name}, {title}); save each to a file"
                )


def _family(facts: _Facts, network: str, source: str) -> str:
    if not facts.depth:
        raise WeightsError(
            f"{source}: its stages have {', '.join(map(str, facts.counts.values()))} blocks; known are ResNet-50 "
            "(3, 4, 6, 3) and ResNet-101 (3, 4, 23, 3)"
        )
    if facts.has_pathways:
        return "SLOWFAST"
    if network == "TSM" and facts.conv1_frames == 1 and not any(map(any, facts.is_temporal.values())):
        return "TSM"
    for family in ("C2D", "I3D", "SLOWONLY"):
        expected = {
            stage: tuple(map(rule, range(facts.counts[stage]))) for stage, rule in TEMPORAL_BLOCKS[family].items()
        }
        if facts.conv1_frames == CONV1_FRAMES[family] and facts.is_temporal == expected:
            return family
    if facts.conv1_frames == CONV1_FRAMES["I3D"] and all(map(all, facts.is_temporal.values())):
        return "I3D"  # heavy
    raise WeightsError(
        f"{source}: its temporal convolutions are those of no known network: conv1 {facts.conv1_frames} frames, "
        + ", ".join(f"res{stage} {sum(blocks)} of {len(blocks)} blocks" for stage, blocks in facts.is_temporal.items())
    )


def _lineages(named: NamedWeights, family: str, facts: _Facts) -> list[str]:
    """Who may have trained it, the likeliest first."""
    rows = list(LINEAGES[family])
    if family == "I3D":
        is_heavy = all(map(all, facts.is_temporal.values()))
        rows = [name for name in rows if LINEAGES[family][name].layers.all_temporal == is_heavy]
    likely = [name for name in named.lineages if name in rows]
    if named.lineages == ("pyslowfast", "pyslowfast_nopool", "authors"):
        likely = ["pyslowfast"]  # its own files of C2D_NOPOOL have Caffe2 names
    return likely or rows


def _pairwise(facts: _Facts, lineage: str | None, stated: Mapping[str, Any]) -> list[str]:
    if facts.has_concat:
        return ["concatenation"]
    if not facts.has_theta:
        return ["gaussian"]
    if "NONLOCAL.pairwise" in stated:
        return [stated["NONLOCAL.pairwise"]]
    return [_FORMS[lineage]] if lineage in _FORMS else list(_PAIRWISE)


def _alpha(kernel: int, stated: Mapping[str, Any]) -> list[int]:
    if "SLOWFAST.alpha" in stated:
        return [stated["SLOWFAST.alpha"]]
    return [4, 8] if kernel == 7 else [8, 4]  # 8x8 and 4x16, as they were published


def _set_or_choose(keys: dict[str, Any], choices: dict[str, Sequence[Any]], key: str, values: Sequence[Any]) -> None:
    if len(values) == 1:
        keys[key] = values[0]
    else:
        choices[key] = values
