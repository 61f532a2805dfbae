"""What a test found where videos have several labels. Legend: N videos, K classes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from datareader.filelist import FileList
from engine.scoring import report_plots
from engine.scoring.findings import Findings, Tile, namer, scored_tile
from engine.scoring.video_scores import Evaluation
from metrics.calibration import reliability
from metrics.multi_label import ClassPrecision, MultiLabelMeasures, class_precisions
from metrics.percentages import percent, with_interval
from metrics.topk import top_classes

_LISTED_CLASSES = 5
_LISTED_MISTAKES = 20  # of either kind


@dataclass(frozen=True)
class Mistake:
    """A class that a video was given and does not have, or has and was not given."""

    index: int
    path: str
    label: int
    probability: float
    labels: tuple[int, ...]  # that the video has


def multi_label_findings(evaluation: Evaluation, videos: FileList, class_names: Sequence[str]) -> Findings:
    """Return what is written of a test: ``results.csv`` (a row a video) and ``classes.csv`` (a row a class) among it.

    Args:
        class_names: by class, empty if they are not known.
    """
    measures = evaluation.measures
    rows = _video_rows(evaluation, videos, measures.threshold)
    classes = class_precisions(evaluation.probabilities, videos.labels, threshold=measures.threshold)
    (false_positives, num_false), (misses, num_missed) = mistakes_of(
        evaluation.probabilities, videos, measures.threshold
    )
    name = namer(class_names)
    scored = ~np.isnan(evaluation.probabilities[:, 0])
    bins = reliability(evaluation.probabilities[scored].ravel(), videos.labels[scored].ravel() > 0)
    return Findings(
        json={
            "classes": [asdict(row) for row in classes],
            "false_positives": [_as_row(mistake) for mistake in false_positives],
            "misses": [_as_row(mistake) for mistake in misses],
            "reliability": [row._asdict() for row in bins],
            "videos": rows,
        },
        tables={
            "results.csv": (_VIDEO_COLUMNS, (_video_cells(row, class_names) for row in rows)),
            "classes.csv": (_class_columns(), (_class_cells(row, class_names) for row in classes)),
        },
        tiles=_tiles(measures),
        template="multi_label.html",
        page={
            "measures": measures,
            "classes": [asdict(row) for row in classes],
            "kinds": [
                ("Most confident false positives", "was given and does not have", false_positives, num_false),
                ("Most confident misses", "has and was not given", misses, num_missed),
            ],
            "classes_plot": report_plots.draw_classes(
                {row.label: row.average_precision for row in classes}, name, "average precision"
            ),
            "reliability_plot": report_plots.draw_reliability(bins),
            "confidence_plot": report_plots.draw_label_confidence(evaluation.probabilities, videos.labels),
        },
        shown=sorted({mistake.index for mistake in [*false_positives, *misses]}),
    )


def mistakes_of(
    probabilities: np.ndarray, videos: FileList, threshold: float, most: int = _LISTED_MISTAKES
) -> list[tuple[list[Mistake], int]]:
    """Return false positives, the most probable first, and misses, the least probable first, each with their number.

    Args:
        probabilities: (N, K); a NaN row is an unscored video.
        most: of either to return.
    """
    truth = videos.labels.astype(bool)
    is_given = probabilities >= threshold  # False where NaN
    is_missed = (probabilities < threshold) & truth
    found = []
    for mask, sign in ((is_given & ~truth, -1), (is_missed, 1)):
        places = np.argwhere(mask)
        order = np.argsort(sign * probabilities[mask], kind="stable")[:most]
        mistakes = [
            Mistake(index, videos.paths[index], label, float(probabilities[index, label]), videos[index].labels)
            for index, label in places[order].tolist()
        ]
        found.append((mistakes, len(places)))
    return found


def _as_row(mistake: Mistake) -> dict[str, Any]:
    return {"index": mistake.index, "label": mistake.label, "probability": round(mistake.probability, 6)}


def _tiles(measures: MultiLabelMeasures) -> list[Tile]:
    left_out = f", {measures.num_left_out} without a video left out" if measures.num_left_out else ""
    return [
        Tile(with_interval(measures.map, measures.map_interval), f"mAP, {measures.num_classes} classes{left_out}"),
        Tile(percent(measures.precision), f"precision at {measures.threshold:g}"),
        Tile(percent(measures.recall), f"recall at {measures.threshold:g}"),
        scored_tile(measures.num_scored, measures.num_videos, measures.views_per_video),
    ]


def _video_rows(evaluation: Evaluation, videos: FileList, threshold: float) -> list[dict[str, Any]]:
    unscored = {bad.index for bad in evaluation.unscored}
    rows = []
    for record in videos:
        if record.index in unscored:
            continue
        row = evaluation.probabilities[record.index]
        best = top_classes(row, _LISTED_CLASSES).tolist()
        given = np.flatnonzero(row >= threshold).tolist()
        rows.append(
            {
                "index": record.index,
                "path": record.path,
                "labels": list(record.labels),
                "predicted": given,
                "correct": given == list(record.labels),
                "top_classes": best,
                "top_probabilities": [round(float(row[class_]), 6) for class_ in best],
            }
        )
    return rows


_VIDEO_COLUMNS = (
    "index", "path", "labels", "label_names", "predicted", "predicted_names", "correct", "false_positives", "misses",
)  # fmt: skip


def _video_cells(row: dict[str, Any], class_names: Sequence[str]) -> list[Any]:
    labels, given = set(row["labels"]), set(row["predicted"])
    cells = [row["index"], row["path"]]
    for classes in (row["labels"], row["predicted"]):
        cells += [",".join(map(str, classes)), "; ".join(class_names[class_] for class_ in classes if class_names)]
    return [*cells, int(row["correct"]), len(given - labels), len(labels - given)]


def _class_columns() -> list[str]:
    first, *others = (field.name for field in fields(ClassPrecision))
    return [first, "name", *others]


def _class_cells(row: ClassPrecision, class_names: Sequence[str]) -> list[Any]:
    first, *others = asdict(row).values()
    return [first, class_names[row.label] if class_names else "", *others]
