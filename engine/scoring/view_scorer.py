"""What the scoring pass needs of what computes: probabilities of views, and features.

Legend: N views, T frames, H, W, K classes, C features.
"""

import threading
from typing import Protocol

import numpy as np

from engine.scoring.runtimes import Score


class ViewScorer(Protocol):
    """Scores views. Several threads may call it; they take turns."""

    engine: str
    precision: str  # of `Precision`; int8 with the label of what it was fitted to, as int8-1a2b3c4d

    def __call__(self, views: np.ndarray) -> np.ndarray:
        """Return class probabilities, float32 (N, K), of uint8 views (N, 3, T, H, W), RGB."""

    def with_features(self, views: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return class probabilities and what the classifier sees, float32 (N, C)."""


def arithmetic_of(scorer: ViewScorer) -> str:
    """Return what must stay the same for a stopped run to go on: engines agree in fp32 only, to rounding."""
    return "fp32" if scorer.precision == "fp32" else f"{scorer.precision} in {scorer.engine}"


class ExportedScorer:
    """An exported network in an engine of its own."""

    def __init__(self, engine: str, precision: str, score: Score) -> None:
        self.engine = engine
        self.precision = precision
        self._score = score
        self._one_at_a_time = threading.Lock()

    def __call__(self, views: np.ndarray) -> np.ndarray:
        return self._outputs(views)[0]

    def with_features(self, views: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        probabilities, features = self._outputs(views)
        return probabilities, features

    def _outputs(self, views: np.ndarray) -> list[np.ndarray]:
        with self._one_at_a_time:
            return [np.asarray(output, np.float32) for output in self._score(np.ascontiguousarray(views))]
