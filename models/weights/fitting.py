"""Fits named values to a network: checks every name and shape before the first value is copied."""

from dataclasses import dataclass, field

import numpy as np

from models.layers import NamedNetwork
from models.weights.names import RELEASED, NamedWeights, some
from utils.errors import WeightsError

_HEAD = ("pred_w", "pred_b")
_BACKBONE = ("conv1_", "bn_conv1_", "res", "bn")


@dataclass
class FitReport:
    """What became of every name. Network names, except `unexpected`, which are the file's."""

    loaded: list[str] = field(default_factory=list)  # as they were
    inflated: list[str] = field(default_factory=list)  # 2D kernels repeated over time
    converted: list[str] = field(default_factory=list)  # classifier turned round, BN folded to affine
    missing: list[str] = field(default_factory=list)  # left as initialised
    renewed: list[str] = field(default_factory=list)  # the classifier of another class count, left as initialised
    unexpected: list[str] = field(default_factory=list)  # in the file, not in the network

    def summary(self) -> str:
        """One line: how many of each, and a few names of what needs a look.

        >>> FitReport(loaded=["a", "b"], missing=["c"]).summary()
        '2 loaded as they are; 1 missing (c)'
        """
        parts = [f"{len(self.loaded)} loaded as they are"]
        parts += [f"{len(names)} {what}" for what in ("inflated", "converted") if (names := getattr(self, what))]
        if self.renewed:
            parts.append("a new classifier, for the class count differs")
        parts += [f"{len(names)} {what} ({some(names)})" for what in ("missing", "unexpected")
                  if (names := getattr(self, what))]  # fmt: skip
        return "; ".join(parts)

    def details(self) -> list[str]:
        """One line for every name that was not simply loaded, and one for those that were."""
        lines = [f"{what}: {name}" for what in ("inflated", "converted", "missing", "renewed", "unexpected")
                 for name in getattr(self, what)]  # fmt: skip
        return [*lines, "loaded: " + " ".join(self.loaded)]


def fit_weights(
    network: NamedNetwork, weights: NamedWeights, *, partial: bool = False, bn_epsilon: float = 1e-5
) -> FitReport:
    """Copy `weights` into `network`, all or nothing.

    2D kernels are repeated over time and divided by the temporal extent; the classifier is turned as needed; where
    the network has an affine layer and the file a BN, the BN is folded: scale / sqrt(variance + epsilon), and
    offset - mean * that (as the authors made their initialisers).

    Args:
        partial: initialisation of a network to be trained. Names may be missing or unexpected, up to half of the
            backbone, and a classifier with another number of classes is left as initialised. Otherwise every name
            of the network must be there, none that belongs to another network, and no kernel that must be repeated.
        bn_epsilon: of the BNs that are folded.

    Raises:
        WeightsError: names, shapes or values do not fit.
    """
    for neutral, value in weights.values.items():
        if value.dtype.kind != "f" or value.dtype.itemsize > 8:
            raise WeightsError(f"{weights.source}: {weights.file_names[neutral]} must be floating-point numbers")
    own = network.state_dict()
    wanted = {RELEASED.neutral_name(name): name for name in own}
    try:
        values, folded = _affine_for_batch_norm(weights.values, set(wanted), bn_epsilon)
    except ValueError as error:
        raise WeightsError(f"{weights.source}: {error}") from error
    report = FitReport(unexpected=[*weights.unknown, *(weights.file_names[n] for n in values if n not in wanted)])
    ready: dict[str, np.ndarray] = {}
    for neutral, value in values.items():
        if neutral not in wanted:
            continue
        name = wanted[neutral]
        try:
            fitted, what = _fit_value(value, name, tuple(own[name].shape), weights.head_is_out_in)
        except ValueError as error:
            raise WeightsError(f"{weights.source}: {weights.file_names.get(neutral, neutral)} {error}") from error
        if what == "renewed" and not partial:
            raise WeightsError(
                f"{weights.source}: its classifier has {fitted.shape[-1]} classes, "
                f"MODEL.num_classes is {own['pred_b'].shape[0]}"
            )
        ready[name] = fitted
        getattr(report, "converted" if neutral in folded else what).append(name)
    if report.renewed:  # both parts of the classifier or none
        for names in (report.loaded, report.converted):
            names[:] = [name for name in names if name not in _HEAD]
        report.renewed = list(_HEAD)
        ready = {name: value for name, value in ready.items() if name not in _HEAD}
    report.missing = [name for name in own if name not in ready and name not in report.renewed]
    if partial:
        _check_enough(report, weights, own)
    else:
        _check_whole(report, weights)
    for name, value in ready.items():
        own[name].set_value(np.ascontiguousarray(value))
    return report


def _fit_value(value: np.ndarray, name: str, shape: tuple[int, ...], head_is_out_in: bool) -> tuple[np.ndarray, str]:
    """`value` in the network's `shape`, and what was done to it: the field of FitReport its name belongs in.

    Raises:
        ValueError: it cannot be made to fit, or is not finite.
    """
    with np.errstate(over="ignore"):
        value = np.asarray(value, np.float32)
    if not np.isfinite(value).all():
        raise ValueError("must be finite, as float32 too")
    fitted, what = value, "loaded"
    if name == "pred_w":
        fitted = _as_channels_and_classes(value, shape[0], head_is_out_in)
        what = "loaded" if fitted is value else "converted"
    elif value.shape != shape and value.shape in (shape[:2] + shape[3:], (*shape[:2], 1, *shape[3:])):
        kernel = value.reshape(*shape[:2], 1, *shape[3:])
        fitted, what = np.broadcast_to(kernel / np.float32(shape[2]), shape), "inflated" if shape[2] > 1 else "loaded"
    if fitted.shape == shape:
        return fitted, what
    if name in _HEAD and fitted.ndim == len(shape) and fitted.shape[:-1] == shape[:-1]:
        return fitted, "renewed"
    raise ValueError(f"has shape {tuple(value.shape)}, {name} in the network of this config {shape}")


def _as_channels_and_classes(value: np.ndarray, channels: int, head_is_out_in: bool) -> np.ndarray:
    """A classifier [channels, classes], [classes, channels] or [classes, channels, 1, 1, 1] as the first of these."""
    is_kernel = value.ndim > 2 and set(value.shape[2:]) == {1}
    matrix = value.reshape(value.shape[:2]) if is_kernel else value
    if matrix.ndim != 2:
        return value
    fitted = matrix.T if is_kernel or head_is_out_in else matrix
    if fitted.shape[0] != channels == fitted.shape[1]:
        fitted = fitted.T  # it lies the other way than its system has it
    return fitted


def _check_whole(report: FitReport, weights: NamedWeights) -> None:
    foreign = [name for name in report.unexpected if name not in weights.unknown]
    if report.missing or foreign or report.inflated:
        raise WeightsError(
            f"{weights.source} ({weights.format}) is not of the network of this config: {len(report.missing)} missing "
            f"({some(report.missing)}), {len(foreign)} unexpected ({some(foreign)}), {len(report.inflated)} of fewer "
            f"frames ({some(report.inflated)}). To start a training from what fits, use --pretrain"
        )


def _check_enough(report: FitReport, weights: NamedWeights, own: dict[str, object]) -> None:
    backbone = [name for name in own if name.startswith(_BACKBONE)]
    lost = [name for name in report.missing if name.startswith(_BACKBONE)]
    if 2 * len(lost) > len(backbone):
        raise WeightsError(
            f"{weights.source} ({weights.format}): {len(lost)} of the backbone's {len(backbone)} parameters are "
            f"missing ({some(lost)}); it holds {some(weights.file_names.values())}"
        )


def _affine_for_batch_norm(
    values: dict[str, np.ndarray], wanted: set[str | None], epsilon: float
) -> tuple[dict[str, np.ndarray], set[str]]:
    """`values` with the BNs folded whose place in the network is an affine layer, and the names that came of it."""
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
