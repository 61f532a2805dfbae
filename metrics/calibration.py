"""How well probabilities are what they say: reliability and expected calibration error (Guo et al., ICML 2017)."""

from typing import NamedTuple

import numpy as np

_BINS = 15  # as in the paper


class ReliabilityBin(NamedTuple):
    """Answers whose confidence is above `low` and at most `high`."""

    low: float
    high: float
    count: int
    confidence: float  # their mean
    accuracy: float  # the share of them that is right


def reliability(confidences: np.ndarray, is_right: np.ndarray, bins: int = _BINS) -> list[ReliabilityBin]:
    """Return the bins, of equal width, that hold an answer.

    Args:
        confidences: probabilities of the answers, float (n,).
        is_right: bool (n,).
    """
    edges = np.linspace(0, 1, bins + 1)
    places = np.clip(np.searchsorted(edges, confidences, side="left") - 1, 0, bins - 1)
    found = []
    for place in np.unique(places).tolist():
        inside = places == place
        found.append(
            ReliabilityBin(
                float(edges[place]),
                float(edges[place + 1]),
                int(inside.sum()),
                float(confidences[inside].mean()),
                float(is_right[inside].mean()),
            )
        )
    return found


def expected_calibration_error(found: list[ReliabilityBin]) -> float | None:
    """Return the mean over the answers of the difference between confidence and accuracy of their bin; None of none."""
    count = sum(row.count for row in found)
    return sum(row.count * abs(row.accuracy - row.confidence) for row in found) / count if count else None
