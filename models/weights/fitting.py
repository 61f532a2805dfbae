"""Fits named values to a network: checks every name and shape before the first value is copied."""

from collections.abc import Mapping

import numpy as np

from models.layers import NamedNetwork
from utils.errors import WeightsError

_HEAD = ("pred_w", "pred_b")


def fit_weights(
    network: NamedNetwork, values: Mapping[str, np.ndarray], source: str, *, renew_head: bool = False
) -> list[str]:
    """Copy `values` (by released name) into `network`, all or nothing.

    Args:
        source: the file, for messages.
        renew_head: leave the classifier as initialised when `values` has another number of classes.

    Returns:
        The names that were left as initialised.

    Raises:
        WeightsError: names or shapes do not agree.
    """
    own = network.state_dict()
    if not own.keys() & values.keys():
        raise WeightsError(
            f"{source}: none of its {len(values)} names belongs to this network; it has {_some(values)}, "
            f"the network {_some(own)}"
        )
    renewed = []
    if "pred_b" in values and np.size(values["pred_b"]) != own["pred_b"].shape[0]:
        if not renew_head:
            raise WeightsError(
                f"{source}: its classifier has {np.size(values['pred_b'])} classes, "
                f"MODEL.num_classes is {own['pred_b'].shape[0]}"
            )
        renewed = list(_HEAD)
    values = {name: value for name, value in values.items() if name not in renewed}
    missing = [name for name in own if name not in values and name not in renewed]
    unexpected = [name for name in values if name not in own]
    if missing or unexpected:
        raise WeightsError(
            f"{source}: does not fit the network of this config: {len(missing)} missing ({_some(missing)}), "
            f"{len(unexpected)} unexpected ({_some(unexpected)})"
        )
    for name, value in values.items():
        if tuple(np.shape(value)) != tuple(own[name].shape):
            raise WeightsError(
                f"{source}: {name} has shape {tuple(np.shape(value))}, the network of this config "
                f"{tuple(own[name].shape)}"
            )
        if np.asarray(value).dtype.kind != "f" or not np.isfinite(value).all():
            raise WeightsError(f"{source}: {name} must be finite floating-point numbers")
    network.set_state_dict({name: np.asarray(value, np.float32) for name, value in values.items()})
    return renewed


def _some(names: object) -> str:
    names = list(names)
    return ", ".join(map(str, names[:3])) + (", ..." if len(names) > 3 else "") if names else "none"
