"""The Python interface: ``from engine.predictor import Predictor``. See `engine.scoring.predictor`."""

from engine.scoring.predictor import Prediction, Predictor

__all__ = ["Prediction", "Predictor"]
