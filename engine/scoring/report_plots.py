"""The plots of the page of a test, as PNG. Legend: N videos, K classes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from metrics.calibration import ReliabilityBin
from metrics.two_classes import OperatingPoint
from utils.pictures import new_figure, picture_text, png_of

_MOST_NAMED = 40  # classes up to which the plots name each
_LONGEST_NAME = 24  # characters
Name = Callable[[int], str]  # of a class


def draw_confusion(confusion: np.ndarray) -> bytes:
    """Draw for each class how its videos were answered, without names: for more classes than a table can hold.

    Classes without a video and without an answer are left out.

    Args:
        confusion: int64 (K, K), label by answer.
    """
    figure, axes = _axes(7.0, 6.4)
    shown = np.flatnonzero(confusion.sum(axis=0) + confusion.sum(axis=1))
    part = confusion[np.ix_(shown, shown)]
    shares = part / np.maximum(part.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues", interpolation="nearest")
    figure.colorbar(image, ax=axes, label="share of the label's videos", fraction=0.046)
    axes.set(xlabel="answer", ylabel="label")
    return png_of(figure)


def draw_classes(values: Mapping[int, float | None], name: Name, title: str) -> bytes:
    """Draw a measure of the classes in [0, 1], best first.

    Args:
        values: by class; None is left out.
        title: of the measure.
    """
    figure, axes = _axes(7.0, 3.0)
    rows = sorted(((label, value) for label, value in values.items() if value is not None), key=lambda row: -row[1])
    axes.bar(range(len(rows)), [value for _, value in rows], width=0.9)
    if len(rows) <= _MOST_NAMED:
        names = [_short(name(label)) for label, _ in rows]
        axes.set_xticks(range(len(rows)), names, rotation=90 if len(rows) > 5 else 0, fontsize=8)
    else:
        axes.set_xticks([])
    axes.set(xlabel="classes, best first", ylabel=title, ylim=(0, 1))
    return png_of(figure)


def draw_confidence(confidences: np.ndarray, correct: np.ndarray) -> bytes:
    """Draw the probabilities of the right and of the wrong answers, each (n,)."""
    figure, axes = _axes(7.0, 3.0)
    axes.hist([confidences[correct], confidences[~correct]], _BINS, stacked=True, label=["right", "wrong"])
    axes.set(xlabel="probability of the answer", ylabel="videos", xlim=(0, 1))
    axes.legend(frameon=False)
    return png_of(figure)


def draw_label_confidence(probabilities: np.ndarray, labels: np.ndarray) -> bytes:
    """Draw the probabilities of labels, and of all other classes, as shares of their number.

    Args:
        probabilities: (N, K); NaN rows are left out.
        labels: uint8 (N, K).
    """
    figure, axes = _axes(7.0, 3.0)
    scored = ~np.isnan(probabilities[:, 0])
    values, truth = probabilities[scored], labels[scored].astype(bool)
    for part, title in ((values[truth], "labels"), (values[~truth], "other classes")):
        axes.hist(part, _BINS, weights=np.full(len(part), 1 / max(len(part), 1)), alpha=0.6, label=title)
    axes.set(xlabel="probability", ylabel="share", xlim=(0, 1))
    axes.legend(frameon=False)
    return png_of(figure)


def draw_reliability(bins: Sequence[ReliabilityBin]) -> bytes:
    """Draw of the answers in each bin of confidence the share that is right; on the diagonal they are what they say."""
    figure, axes = _axes(5.0, 4.0)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle="--")
    for row in bins:
        axes.bar(row.low, row.accuracy, row.high - row.low, align="edge", color="C0", edgecolor="white", alpha=0.7)
    axes.plot([row.confidence for row in bins], [row.accuracy for row in bins], "o", color="C1", markersize=4)
    axes.set(xlabel="confidence", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1))
    return png_of(figure)


def draw_operating_curve(points: Sequence[OperatingPoint], threshold: float) -> bytes:
    """Draw what all thresholds give: true by false positive rate, and precision by recall; a dot at `threshold`."""
    figure = new_figure(8.0, 4.0)
    rates, precisions = figure.subplots(1, 2)
    reached = [point for point in points if point.threshold >= threshold]
    rates.plot([0, *(p.false_positive_rate for p in points)], [0, *(p.recall for p in points)], drawstyle="default")
    rates.plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle="--")
    rates.set(xlabel="false positive rate", ylabel="recall (true positive rate)", xlim=(0, 1), ylim=(0, 1.02))
    precisions.plot([p.recall for p in points], [p.precision for p in points], drawstyle="steps-post")
    precisions.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
    if reached:  # the last of them is the one that gives the same answers
        rates.plot(reached[-1].false_positive_rate, reached[-1].recall, "o", color="C1")
        precisions.plot(reached[-1].recall, reached[-1].precision, "o", color="C1")
    return png_of(figure)


_BINS = np.linspace(0, 1, 21)


def _axes(width: float, height: float) -> tuple[Any, Any]:
    figure = new_figure(width, height)
    return figure, figure.add_subplot()


def _short(name: str) -> str:
    return picture_text(name[:_LONGEST_NAME])
