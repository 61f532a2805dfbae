"""Whether an engine computes what the network computes: both are given the same views, and compared.

Probabilities of a trained network are mostly 0 or 1, where two different networks look alike. Their logarithms, and
those of what they lack to 1, are compared instead: they differ as the logits do. Features are compared by their
largest value.

Legend: N views, T frames, H, W, K classes, C features.
"""

import numpy as np

from engine.scoring.runtimes import Precision
from engine.scoring.view_scorer import ViewScorer
from utils.errors import DeviceError

# Largest difference of the logarithm of a probability, between an engine and dygraph.
LARGEST_DIFFERENCE: dict[Precision, float] = {"fp32": 0.01, "bf16": 1.0, "int8": 2.0}
# Largest difference of a feature, as a share of the largest feature.
LARGEST_FEATURE_DIFFERENCE: dict[Precision, float] = {"fp32": 0.01, "bf16": 0.2, "int8": 0.3}
_SMALLEST_PROBABILITY = 1e-8  # below it, rounding decides
_SMALLEST_LACK = 1e-4  # the same of 1 - p, which float32 holds less exactly


def require_agreement(
    name: str,
    precision: Precision,
    engine: ViewScorer,
    network: ViewScorer,
    shape: tuple[int, ...],
    *,
    with_features: bool = True,
) -> float:
    """Compare an engine with the network on views of `shape` (N, 3, T, H, W), and return the largest difference.

    Args:
        with_features: of what was exported; else probabilities are compared alone.

    Raises:
        DeviceError: it is larger than `LARGEST_DIFFERENCE`, or not a number; or that of the features is larger than
            `LARGEST_FEATURE_DIFFERENCE`.
    """
    views = video_like_views(shape)
    both = [scorer.with_features(views) if with_features else (scorer(views),) for scorer in (engine, network)]
    (found, *features), (expected, *expected_features) = both
    difference = largest_difference(found, expected)
    if not difference < LARGEST_DIFFERENCE[precision]:
        raise DeviceError(
            f"{name} computes something else than dygraph: the logarithm of a probability differs by {difference:.2g} "
            f"(at most {LARGEST_DIFFERENCE[precision]})"
        )
    if not with_features:
        return difference
    of_features = np.abs(features[0] - expected_features[0]).max() / max(float(np.abs(expected_features).max()), 1e-9)
    if not of_features < LARGEST_FEATURE_DIFFERENCE[precision]:
        raise DeviceError(
            f"{name} computes other features than dygraph: one differs by {of_features:.2g} of the largest "
            f"(at most {LARGEST_FEATURE_DIFFERENCE[precision]})"
        )
    return difference


def largest_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference of the logarithm of a probability p, or of 1 - p; NaN if one is not finite.

    Args:
        found, expected: probabilities, both (N, K).
    """
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    differences = [
        np.log(np.maximum(a, smallest)) - np.log(np.maximum(b, smallest))
        for a, b, smallest in ((found, expected, _SMALLEST_PROBABILITY), (1 - found, 1 - expected, _SMALLEST_LACK))
    ]
    return float(np.abs(differences).max())


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
