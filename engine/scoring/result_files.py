"""The files with the results of a test: JSON, tables, a page, and the probabilities of every video."""

import csv
import io
import pickle
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from datareader.filelist import FileList
from engine.scoring.report_page import Mistake, Report, write_report
from engine.scoring.video_scores import Evaluation
from metrics.classes import ClassAccuracy, class_accuracies, confusion_matrix
from metrics.topk import top_classes
from utils.atomic_file import atomic_write, write_json, write_text

_LISTED_CLASSES = 5
_LISTED_MISTAKES = 20


def write_results(
    folder: Path,
    evaluation: Evaluation,
    videos: FileList,
    facts: dict[str, Any],
    *,
    class_names: Sequence[str] = (),
    decode_timeout: float = 120.0,
    num_workers: int = 2,
) -> None:
    """Write ``results.json``, ``results.csv`` (a row a video), ``classes.csv`` (a row a class), ``confusion.csv``
    (label by answer), ``results_probs.pkl`` and, last, ``report.html`` into `folder`.

    Args:
        facts: how the results were made; they are written into ``results.json``.
        class_names: by class, for the page.
        decode_timeout, num_workers: how the page's pictures are read.
    """
    rows = _video_rows(evaluation, videos)
    confusion = confusion_matrix(evaluation.probabilities, videos.labels)
    classes = class_accuracies(confusion, videos.labels)
    mistakes = sorted((row for row in rows if not row["correct"]), key=lambda row: -row["top_probabilities"][0])
    content = {
        "metrics": evaluation.accuracy.as_dict(),
        **facts,
        "classes": [asdict(row) for row in classes],
        "mistakes": [row["index"] for row in mistakes[:_LISTED_MISTAKES]],
        "videos": rows,
        "unscored": [{"index": bad.index, "path": bad.path, "reason": bad.reason} for bad in evaluation.unscored],
    }
    write_json(folder / "results.json", content)
    columns = ["index", "path", "label", "predicted", "correct", "probability", "probability_of_label"]
    _write_table(folder / "results.csv", columns, (_video_cells(row, evaluation) for row in rows))
    names = [field.name for field in fields(ClassAccuracy)]
    _write_table(folder / "classes.csv", names, (asdict(row).values() for row in classes))
    header = ["label", *range(confusion.shape[1])]
    _write_table(folder / "confusion.csv", header, ([label, *row] for label, row in enumerate(confusion.tolist())))
    _write_probabilities(folder / "results_probs.pkl", evaluation, videos)
    report = Report(
        title=facts.get("weights") or " + ".join(facts["merged"]),
        accuracy=evaluation.accuracy,
        facts=facts,
        classes=[asdict(row) for row in classes],
        confusion=confusion,
        confidences=np.array([row["top_probabilities"][0] for row in rows]),
        correct=np.array([row["correct"] for row in rows], bool),
        mistakes=[_mistake(row, evaluation) for row in mistakes[:_LISTED_MISTAKES]],
        num_mistakes=len(mistakes),
        unscored=[(bad.path, bad.reason) for bad in evaluation.unscored],
    )
    write_report(
        folder / "report.html",
        report,
        videos,
        class_names=class_names,
        timeout_seconds=decode_timeout,
        num_workers=num_workers,
    )


def _mistake(row: dict[str, Any], evaluation: Evaluation) -> Mistake:
    of_label = float(evaluation.probabilities[row["index"], row["label"]])
    return Mistake(row["index"], row["path"], row["label"], row["top_classes"], row["top_probabilities"], of_label)


def _video_rows(evaluation: Evaluation, videos: FileList) -> list[dict[str, Any]]:
    unscored = {bad.index for bad in evaluation.unscored}
    rows = []
    for record in videos:
        if record.index in unscored:
            continue
        row = evaluation.probabilities[record.index]
        best = top_classes(row, _LISTED_CLASSES).tolist()
        rows.append(
            {
                "index": record.index,
                "path": record.path,
                "label": record.label,
                "predicted": best[0],
                "correct": best[0] == record.label,
                "top_classes": best,
                "top_probabilities": [round(float(row[class_]), 6) for class_ in best],
            }
        )
    return rows


def _video_cells(row: dict[str, Any], evaluation: Evaluation) -> list[Any]:
    of_label = float(evaluation.probabilities[row["index"], row["label"]])
    cells = [row[key] for key in ("index", "path", "label", "predicted")]
    return [*cells, int(row["correct"]), row["top_probabilities"][0], round(of_label, 6)]


def _write_table(path: Path, columns: Sequence[Any], rows: Iterable[Iterable[Any]]) -> None:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    table.writerows(rows)
    write_text(path, text.getvalue())


def _write_probabilities(path: Path, evaluation: Evaluation, videos: FileList) -> None:
    """Write a pickle of {paths, labels int64 (N,), probabilities float32 (N, K)}; rows of unscored videos are NaN."""
    content = {
        "paths": videos.paths,
        "labels": videos.labels,
        "probabilities": evaluation.probabilities.astype(np.float32),
    }
    with atomic_write(path) as handle:
        pickle.dump(content, handle, protocol=2)
