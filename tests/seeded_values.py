"""Parameter and clip values that follow from their names alone: the rule the reference results were made with."""

import zlib

import numpy as np


def parameter(name, shape):
    random = np.random.default_rng(zlib.crc32(name.encode()))
    shape = tuple(shape)
    if name.endswith(("_scale", "_variance", "_affine_s")):
        last_of_branch = name.endswith("_branch2c_scale") or (
            name.startswith("nonlocal") and not name.endswith("_variance")
        )
        values = random.uniform(0.5, 1.5, shape) * (0.2 if last_of_branch else 1.0)
    elif name == "pred_w":
        values = random.standard_normal(shape) * 0.4 / np.sqrt(shape[0])
    elif len(shape) >= 4:
        gain = 1.0 if name.startswith("nonlocal") else 2.0
        values = random.standard_normal(shape) * np.sqrt(gain / np.prod(shape[1:]))
    else:
        values = random.standard_normal(shape) * 0.1
    return values.astype(np.float32)


def clip(name, shape):
    random = np.random.default_rng(zlib.crc32(name.encode()))
    n, channels, frames, height, width = shape
    t = np.linspace(0, 1, frames)[:, None, None]
    y = np.linspace(0, 1, height)[None, :, None]
    x = np.linspace(0, 1, width)[None, None, :]
    waves = np.empty(shape)
    for i in range(n):
        for c in range(channels):
            in_x, in_y, in_t, phase = random.uniform(1, 6, 4)
            waves[i, c] = np.sin(2 * np.pi * (in_x * x + in_y * y + in_t * t) + phase)
    return (waves + 0.5 * random.standard_normal(shape)).astype(np.float32)


def fill(network):
    """Give every parameter and statistic of a network its seeded value."""
    network.set_state_dict({name: parameter(name, value.shape) for name, value in network.state_dict().items()})
    network.eval()
    return network
