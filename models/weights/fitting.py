"""Copies values from a file into a network: every name and shape is checked before the first value is copied."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle

from models.network import VideoNetwork
from models.weights.dialects import Dialect, FileArrays, NamedWeights, name_weights, some
from models.weights.fit_report import FitReport
from models.weights.recognition import require_one_network
from utils.errors import WeightsError


@dataclass
class Fitted:
    """What was loaded.

    Args:
        format: what the file was found to be, for messages.
        report: what became of every name.
        usual, lineages, doubt: see `Dialect`.
    """

    format: str
    report: FitReport
    usual: Mapping[str, Any]
    lineages: Sequence[str] = ()
    doubt: str = ""


def load_into(network: VideoNetwork, file: FileArrays, dialects: Sequence[Dialect], *, partial: bool = False) -> Fitted:
    """Copy the values of a file into `network`, all or nothing.

    A file with exactly the network's names and shapes is copied as it is. So must be a save of this toolkit, unless
    `partial` is set. The names of other files are read by the network's dialects: see `fit_weights`.

    Args:
        dialects: of the network; the first is its own. Empty: only the network's own names are known.
        partial: see `fit_weights`.

    Raises:
        WeightsError: names, shapes or values do not fit.
    """
    own = network.state_dict()
    shapes = {name: tuple(value.shape) for name, value in own.items()}
    if {name: value.shape for name, value in file.arrays.items()} == shapes:
        return _load_exactly(own, file)
    if not partial and (file.is_own or not dialects):
        raise WeightsError(f"{file.source} ({file.container}) {_differences(network, file, shapes)}")
    if dialects:
        named = name_weights(file, dialects)
    else:
        names = {name: name for name in file.arrays}
        named = NamedWeights(file.source, file.container, dict(file.arrays), names, list(file.others))
    report = fit_weights(network, named, dialects[0] if dialects else None, partial=partial)
    return Fitted(named.format, report, named.usual, named.lineages, named.doubt)


def _load_exactly(own: Mapping[str, paddle.Tensor], file: FileArrays) -> Fitted:
    ready = {}
    for name, value in file.arrays.items():
        _require_floating(value, name, file.source)
        try:
            ready[name] = _finite(value)
        except ValueError as error:
            raise WeightsError(f"{file.source}: {name} {error}") from error
    for name, value in ready.items():
        own[name].set_value(np.ascontiguousarray(value))
    return Fitted(file.container, FitReport(loaded=list(own)), {})


def _differences(network: VideoNetwork, file: FileArrays, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """How the names and shapes of a file differ from those of the network, as the rest of a sentence about the file."""
    missing = [name for name in shapes if name not in file.arrays]
    foreign = [name for name in file.arrays if name not in shapes]
    reshaped = [name for name, value in file.arrays.items() if name in shapes and value.shape != shapes[name]]
    pairs = [(file.arrays[name].shape, shapes[name]) for name in reshaped]
    if (
        not missing
        and not foreign
        and all(
            network.parameter_kind(name).part == "head" and found[:-1] == wanted[:-1] and len(found) == len(wanted)
            for name, (found, wanted) in zip(reshaped, pairs, strict=True)
        )
    ):
        found, wanted = pairs[0]
        return f"has a classifier of {found[-1]} classes, MODEL.num_classes is {wanted[-1]}"
    shapes_of = [f"{name} {file.arrays[name].shape}, here {shapes[name]}" for name in reshaped]
    lists = (("missing", missing), ("unexpected", foreign), ("of another shape", shapes_of))
    return "is of another network: " + "; ".join(
        f"{len(names)} {kind} ({some(names)})" for kind, names in lists if names
    )


def fit_weights(
    network: VideoNetwork, weights: NamedWeights, dialect: Dialect | None, *, partial: bool = False
) -> FitReport:
    """Copy `weights` into `network`, all or nothing.

    2D kernels are repeated over time and divided by the temporal extent; the classifier is turned as needed; where
    the network has an affine layer and the file a BN, the BN is folded: scale / sqrt(variance + epsilon), and
    offset - mean * that (as the authors made their initialisers).

    Args:
        dialect: how the network's own names become neutral; None: the names are used unchanged.
        partial: initialisation of a network to be trained. Names may be missing or unexpected, up to half of the
            backbone, and a classifier with another number of classes is left as initialised. Otherwise every name
            of the network must be there, none that belongs to another network, and no kernel that must be repeated.

    Raises:
        WeightsError: names, shapes or values do not fit.
    """
    if weights.lineages and not partial and not any(map(network.is_of_lineage, weights.lineages)):
        raise WeightsError(
            f"{weights.source} ({weights.format}) is of a network whose layers are not those of this config; with "
            f"MODEL.lineage={' or '.join(weights.lineages)} they may be"
        )
    require_one_network(weights)
    for neutral, value in weights.values.items():
        _require_floating(value, weights.file_names[neutral], weights.source)
    own = network.state_dict()
    head = [name for name in own if network.parameter_kind(name).part == "head"]
    wanted = {dialect.neutral_name(name) if dialect else name: name for name in own}
    try:
        values, folded = _affine_for_batch_norm(weights.values, set(wanted), network.bn_epsilon)
    except ValueError as error:
        raise WeightsError(f"{weights.source}: {error}") from error
    report = FitReport(unexpected=[*weights.unknown, *(weights.file_names[n] for n in values if n not in wanted)])
    ready: dict[str, np.ndarray] = {}
    for neutral, value in values.items():
        if neutral not in wanted:
            continue
        name = wanted[neutral]
        shape = tuple(own[name].shape)
        try:
            fitted, what = _fit_value(value, name, shape, in_head=name in head, head_is_out_in=weights.head_is_out_in)
        except ValueError as error:
            raise WeightsError(f"{weights.source}: {weights.file_names.get(neutral, neutral)} {error}") from error
        if what == "renewed" and not partial:
            raise WeightsError(
                f"{weights.source}: its classifier has {fitted.shape[-1]} classes, MODEL.num_classes is {shape[-1]}"
            )
        ready[name] = fitted
        getattr(report, "converted" if neutral in folded else what).append(name)
    if report.renewed:  # both parts of the classifier or none
        for names in (report.loaded, report.converted):
            names[:] = [name for name in names if name not in head]
        report.renewed = head
        ready = {name: value for name, value in ready.items() if name not in head}
    report.missing = [name for name in own if name not in ready and name not in report.renewed]
    if partial:
        _check_enough(report, weights, [name for name in own if network.parameter_kind(name).part == "backbone"])
    else:
        _check_whole(report, weights)
    for name, value in ready.items():
        own[name].set_value(np.ascontiguousarray(value))
    return report


def _require_floating(value: np.ndarray, name: str, source: str) -> None:
    if value.dtype.kind != "f" or value.dtype.itemsize > 8:
        raise WeightsError(f"{source}: {name} must be floating-point numbers")


def _finite(value: np.ndarray) -> np.ndarray:
    """`value` as float32.

    Raises:
        ValueError: it is not finite.
    """
    with np.errstate(over="ignore"):
        value = np.asarray(value, np.float32)
    if not np.isfinite(value).all():
        raise ValueError("must be finite, as float32 too")
    return value


def _fit_value(
    value: np.ndarray, name: str, shape: tuple[int, ...], *, in_head: bool, head_is_out_in: bool
) -> tuple[np.ndarray, str]:
    """`value` in the network's `shape`, and what was done to it: the field of FitReport its name belongs in.

    Args:
        in_head: it is a part of the classifier.
        head_is_out_in: the file's classifier is [classes, channels].

    Raises:
        ValueError: it cannot be made to fit, or is not finite.
    """
    value = fitted = _finite(value)
    what = "loaded"
    if in_head and len(shape) == 2:
        fitted = _as_channels_and_classes(value, shape[0], head_is_out_in)
        what = "loaded" if fitted is value else "converted"
    elif value.shape != shape and value.shape in (shape[:2] + shape[3:], (*shape[:2], 1, *shape[3:])):
        kernel = value.reshape(*shape[:2], 1, *shape[3:])
        fitted, what = np.broadcast_to(kernel / np.float32(shape[2]), shape), "inflated" if shape[2] > 1 else "loaded"
    if fitted.shape == shape:
        return fitted, what
    if in_head and fitted.ndim == len(shape) and fitted.shape[:-1] == shape[:-1]:
        return fitted, "renewed"
    raise ValueError(f"has shape {tuple(value.shape)}, {name} in the network of this config {shape}")


def _as_channels_and_classes(value: np.ndarray, channels: int, head_is_out_in: bool) -> np.ndarray:
    """Return a classifier [classes, channels], [classes, channels, 1, 1, 1] or turned as [channels, classes]."""
    is_kernel = value.ndim > 2 and set(value.shape[2:]) == {1}
    matrix = value.reshape(value.shape[:2]) if is_kernel else value
    if matrix.ndim != 2:
        return value
    fitted = matrix.T if is_kernel or head_is_out_in else matrix
    if fitted.shape[0] != channels == fitted.shape[1]:
        fitted = fitted.T  # stored the other way round than usual in its system
    return fitted


def _check_whole(report: FitReport, weights: NamedWeights) -> None:
    foreign = [name for name in report.unexpected if name not in weights.unknown]
    if report.missing or foreign or report.inflated:
        raise WeightsError(
            f"{weights.source} ({weights.format}) is not of the network of this config: {len(report.missing)} missing "
            f"({some(report.missing)}), {len(foreign)} unexpected ({some(foreign)}), {len(report.inflated)} of fewer "
            f"frames ({some(report.inflated)}). To start a training from what fits, use --pretrain"
        )


def _check_enough(report: FitReport, weights: NamedWeights, backbone: Sequence[str]) -> None:
    lost = [name for name in report.missing if name in set(backbone)]
    if 2 * len(lost) > len(backbone):
        raise WeightsError(
            f"{weights.source} ({weights.format}): {len(lost)} of the backbone's {len(backbone)} parameters are "
            f"missing ({some(lost)}); it holds {some(weights.file_names.values())}"
        )


def _affine_for_batch_norm(
    values: dict[str, np.ndarray], wanted: set[str | None], epsilon: float
) -> tuple[dict[str, np.ndarray], set[str]]:
    """Fold the BNs whose place in the network is an affine layer; return the new values, and the names that changed."""
    values, folded = dict(values), set()
    for name in [name for name in values if name.endswith("_scale")]:
        prefix = name.removesuffix("_scale")
        affine = [f"{prefix.removesuffix('_bn')}_affine_{part}" for part in "sb"]  # of a non-local block
        target = affine if affine[0] in wanted else [name, f"{prefix}_offset"]
        statistics = [f"{prefix}_{part}" for part in ("offset", "mean", "variance")]
        if target[0] not in wanted or f"{prefix}_mean" in wanted or statistics[0] not in values:
            continue
        scale, offset = (values.pop(part).astype(np.float64) for part in (name, statistics[0]))
        if statistics[1] in values and statistics[2] in values:
            mean, variance = (values.pop(part).astype(np.float64) for part in statistics[1:])
            if not scale.shape == offset.shape == mean.shape == variance.shape or (variance < 0).any():
                raise ValueError(f"the statistics of {prefix} differ in shape, or a variance is negative")
            scale = scale / np.sqrt(variance + epsilon)
            offset = offset - mean * scale
            folded |= set(target)
        values |= dict(zip(target, (scale, offset), strict=True))
    return values, folded
