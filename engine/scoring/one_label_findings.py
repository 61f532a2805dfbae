"""What a test found where each video has one label. Legend: N videos, K classes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from datareader.filelist import FileList
from engine.scoring import report_plots
from engine.scoring.findings import Findings, Table, Tile, namer, scored_tile
from engine.scoring.video_scores import Evaluation
from metrics.calibration import reliability
from metrics.classes import ClassAccuracy, class_accuracies, confusion_matrix
from metrics.percentages import with_interval
from metrics.report import Accuracy
from metrics.topk import answers, top_classes
from metrics.two_classes import OperatingPoint, operating_points

_LISTED_CLASSES = 5
_LISTED_MISTAKES = 20
_LARGEST_TABLE = 40  # classes up to which the matrix is a table


@dataclass(frozen=True)
class Mistake:
    """A video that was given a wrong class."""

    index: int
    path: str
    label: int
    classes: list[int]  # best first
    probabilities: list[float]
    of_label: float  # probability of the label


def one_label_findings(evaluation: Evaluation, videos: FileList, class_names: Sequence[str]) -> Findings:
    """Return what is written of a test: ``results.csv`` (a row a video), ``classes.csv`` (a row a class) and
    ``confusion.csv`` (label by answer) among it.

    Args:
        class_names: by class, empty if they are not known.
    """
    two_classes = evaluation.measures.two_classes
    threshold = 0.5 if two_classes is None else two_classes.threshold
    rows = _video_rows(evaluation, videos, threshold)
    confusion = confusion_matrix(evaluation.probabilities, videos.labels, threshold=threshold)
    classes = class_accuracies(confusion, videos.labels)
    mistakes = sorted((row for row in rows if not row["correct"]), key=lambda row: -row["top_probabilities"][0])
    listed = [_mistake(row, evaluation) for row in mistakes[:_LISTED_MISTAKES]]
    name = namer(class_names)
    confidences = np.array([row["top_probabilities"][0] for row in rows])
    correct = np.array([row["correct"] for row in rows], bool)
    points = _operating_points(evaluation, videos)
    bins = reliability(confidences, correct)
    tables: dict[str, Table] = {
        "results.csv": (_VIDEO_COLUMNS, (_video_cells(row, evaluation, class_names) for row in rows)),
        "classes.csv": (_class_columns(), (_class_cells(row, class_names) for row in classes)),
        "confusion.csv": (
            ["label", "name", *(_both(label, class_names) for label in range(len(confusion)))],
            ([label, _name(label, class_names), *row] for label, row in enumerate(confusion.tolist())),
        ),
    }
    if points:
        tables["operating_points.csv"] = (OperatingPoint._fields, points)
    return Findings(
        json={
            "classes": [asdict(row) for row in classes],
            "mistakes": [mistake.index for mistake in listed],
            "reliability": [row._asdict() for row in bins],
            "videos": rows,
        },
        tables=tables,
        tiles=_tiles(evaluation.measures),
        template="report.html",
        page={
            "classes": [asdict(row) for row in classes],
            "mistakes": listed,
            "num_mistakes": len(mistakes),
            "matrix": _matrix(confusion, [row.label for row in classes]),
            "confusion_plot": report_plots.draw_confusion(confusion),
            "reliability_plot": report_plots.draw_reliability(bins),
            "ece": evaluation.measures.ece,
            "two_classes": two_classes,
            "operating_plot": report_plots.draw_operating_curve(points, threshold) if points else None,
            "classes_plot": report_plots.draw_classes({row.label: row.top1 for row in classes}, name, "top-1"),
            "confidence_plot": report_plots.draw_confidence(confidences, correct),
        },
        shown=[mistake.index for mistake in listed],
    )


def _tiles(accuracy: Accuracy) -> list[Tile]:
    tiles = [Tile(with_interval(accuracy.top1, accuracy.top1_interval), "top-1")]
    if accuracy.top5 is not None:
        tiles.append(Tile(with_interval(accuracy.top5, accuracy.top5_interval), "top-5"))
    tiles.append(Tile(with_interval(accuracy.mean_class_top1, accuracy.mean_class_top1_interval), "mean class top-1"))
    if accuracy.clip_top1 is not None:
        tiles.append(Tile(with_interval(accuracy.clip_top1, accuracy.clip_top1_interval), "single views"))
    tiles.append(scored_tile(accuracy.num_scored, accuracy.num_videos, accuracy.views_per_video))
    if (two := accuracy.two_classes) is not None:
        tiles += [
            Tile(with_interval(two.precision, two.precision_interval), f"precision of class 1 at {two.threshold:g}"),
            Tile(with_interval(two.recall, two.recall_interval), f"recall of class 1 at {two.threshold:g}"),
            Tile(with_interval(two.f1, two.f1_interval), f"F1 at {two.threshold:g}"),
            Tile(with_interval(two.auc, two.auc_interval), "AUC"),
        ]
    if accuracy.num_scored < accuracy.num_videos:
        of_all = with_interval(accuracy.top1_of_all, accuracy.top1_of_all_interval)
        tiles.append(Tile(of_all, "top-1, unscored counted as wrong", is_bad=True))
    return tiles


def _operating_points(evaluation: Evaluation, videos: FileList) -> list[OperatingPoint]:
    """Those of class 1, where there are two classes and videos of both."""
    scored = ~np.isnan(evaluation.probabilities[:, 0])
    is_positive = videos.labels[scored] == 1
    if evaluation.measures.two_classes is None or is_positive.all() or not is_positive.any():
        return []
    return operating_points(evaluation.probabilities[scored, 1], is_positive)


@dataclass(frozen=True)
class MatrixRow:
    """How the videos of a class were answered."""

    label: int
    cells: list[tuple[int, int]]  # count, and its share of the row, in %


def _matrix(confusion: np.ndarray, labels: Sequence[int]) -> tuple[list[int], list[MatrixRow]] | None:
    """The classes that have a video or an answer, and their rows; None if there are too many for a table."""
    shown = sorted(set(labels) | set(np.flatnonzero(confusion.sum(axis=0)).tolist()))
    if len(shown) > _LARGEST_TABLE:
        return None
    rows = []
    for label in shown:
        counts = confusion[label, shown]
        shares = (100 * counts / max(counts.sum(), 1)).round().astype(int)
        rows.append(MatrixRow(label, list(zip(counts.tolist(), shares.tolist(), strict=True))))
    return shown, rows


def _mistake(row: dict[str, Any], evaluation: Evaluation) -> Mistake:
    of_label = float(evaluation.probabilities[row["index"], row["label"]])
    return Mistake(row["index"], row["path"], row["label"], row["top_classes"], row["top_probabilities"], of_label)


def _video_rows(evaluation: Evaluation, videos: FileList, threshold: float) -> list[dict[str, Any]]:
    unscored = {bad.index for bad in evaluation.unscored}
    rows = []
    for record in videos:
        if record.index in unscored:
            continue
        row = evaluation.probabilities[record.index]
        answer = int(answers(row[None], threshold)[0])
        best = [answer, *(class_ for class_ in top_classes(row, _LISTED_CLASSES).tolist() if class_ != answer)]
        (label,) = record.labels
        rows.append(
            {
                "index": record.index,
                "path": record.path,
                "label": label,
                "predicted": answer,
                "correct": answer == label,
                "top_classes": best,
                "top_probabilities": [round(float(row[class_]), 6) for class_ in best],
            }
        )
    return rows


_VIDEO_COLUMNS = (
    "index", "path", "label", "label_name", "predicted", "predicted_name", "correct", "probability",
    "probability_of_label",
)  # fmt: skip


def _video_cells(row: dict[str, Any], evaluation: Evaluation, class_names: Sequence[str]) -> list[Any]:
    of_label = float(evaluation.probabilities[row["index"], row["label"]])
    cells = [row["index"], row["path"]]
    for key in ("label", "predicted"):
        cells += [row[key], _name(row[key], class_names)]
    return [*cells, int(row["correct"]), row["top_probabilities"][0], round(of_label, 6)]


def _class_columns() -> list[str]:
    first, *others = (field.name for field in fields(ClassAccuracy) if field.name != "top1_interval")
    return [first, "name", *others, "confused_with_name", "top1_low", "top1_high"]


def _class_cells(row: ClassAccuracy, class_names: Sequence[str]) -> list[Any]:
    first, *others = (value for field, value in asdict(row).items() if field != "top1_interval")
    confused_with = "" if row.confused_with is None else _name(row.confused_with, class_names)
    low, high = row.top1_interval or (None, None)
    return [first, _name(row.label, class_names), *others, confused_with, low, high]


def _name(label: int, class_names: Sequence[str]) -> str:
    return class_names[label] if class_names else ""


def _both(label: int, class_names: Sequence[str]) -> str:
    return f"{label} {class_names[label]}" if class_names else str(label)
