"""Whether an engine computes what the network computes: both are given the same views, and compared.

Probabilities of a trained network are mostly 0 or 1, where two different networks look alike. Their logarithms are
compared instead: they differ as the logits do.

Legend: N views, T frames, H, W, K classes.
"""

from collections.abc import Callable

import numpy as np

from engine.scoring.runtimes import Precision
from utils.errors import DeviceError

# Largest difference of the logarithm of a probability, between an engine and dygraph.
LARGEST_DIFFERENCE: dict[Precision, float] = {"fp32": 0.01, "bf16": 1.0}
_SMALLEST_PROBABILITY = 1e-8  # below it, rounding decides
_Probabilities = Callable[[np.ndarray], np.ndarray]  # of views, (N, K)


def require_agreement(
    name: str, precision: Precision, engine: _Probabilities, network: _Probabilities, shape: tuple[int, ...]
) -> float:
    """Compare an engine with the network on views of `shape` (N, 3, T, H, W), and return the largest difference.

    Raises:
        DeviceError: it is larger than `LARGEST_DIFFERENCE`, or not a number.
    """
    views = video_like_views(shape)
    difference = largest_difference(engine(views), network(views))
    if not difference < LARGEST_DIFFERENCE[precision]:
        raise DeviceError(
            f"{name} computes something else than dygraph: the logarithm of a probability differs by {difference:.2g} "
            f"(at most {LARGEST_DIFFERENCE[precision]})"
        )
    return difference


def largest_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference of the logarithm of a probability, both (N, K); NaN if one is not finite."""
    logarithms = [np.log(np.maximum(values.astype(np.float64), _SMALLEST_PROBABILITY)) for values in (found, expected)]
    return float(np.abs(logarithms[0] - logarithms[1]).max())


def video_like_views(shape: tuple[int, ...]) -> np.ndarray:
    """Return views with the statistics of videos, uint8 of `shape` (N, 3, T, H, W), the same every time.

    A texture whose amplitudes fall with the frequency, as in natural pictures (Field 1987), moves by a few pixels a
    frame; colours vary little; a quarter of the contrast is fine noise. Mean and contrast are those of videos.
    """
    channels, num_frames, height, width = shape[1:]
    random = np.random.default_rng(0)
    views = np.empty(shape, np.uint8)
    for view in views:
        speed = random.integers(-4, 5, 2)
        grey = _texture(height, width, random)
        tint = [_texture(height, width, random) for _ in range(channels)]
        for time in range(num_frames):
            for channel in range(channels):
                picture = np.roll(grey + 0.3 * tint[channel], tuple(time * speed), axis=(0, 1))
                picture = picture + 0.25 * random.standard_normal((height, width))
                view[channel, time] = np.clip(110 + 50 * picture, 0, 255).astype(np.uint8)
    return views


def _texture(height: int, width: int, random: np.random.Generator) -> np.ndarray:
    """A random picture of mean 0 and standard deviation 1 whose amplitudes are 1 / frequency."""
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    frequency = np.maximum(np.hypot(rows, columns), 1 / max(height, width))
    spectrum = np.fft.rfft2(random.standard_normal((height, width))) / frequency
    spectrum[0, 0] = 0
    picture = np.fft.irfft2(spectrum, s=(height, width))
    return picture / max(float(picture.std()), 1e-9)
