"""The files with the results of a test: JSON, tables, a page, and the probabilities of every video."""

import csv
import io
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datareader.filelist import FileList
from engine.scoring.findings import Table
from engine.scoring.multi_label_findings import multi_label_findings
from engine.scoring.one_label_findings import one_label_findings
from engine.scoring.report_page import write_report
from engine.scoring.video_scores import Evaluation
from utils.atomic_file import atomic_write, write_json, write_text
from utils.printable import table_cell

_TABLES = ("results.csv", "classes.csv", "confusion.csv", "operating_points.csv")


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
    """Write ``results.json``, ``results_probs.pkl``, ``report.html`` (last), and tables into `folder`.

    The tables: ``results.csv`` (a row a video), ``classes.csv`` (a row a class); where videos have one label
    ``confusion.csv`` (label by answer); of two classes ``operating_points.csv`` (a row a threshold).

    Args:
        facts: how the results were made; they are written into ``results.json``.
        class_names: by class, for the tables and the page.
        decode_timeout, num_workers: how the page's pictures are read.
    """
    find = multi_label_findings if videos.has_label_sets else one_label_findings
    findings = find(evaluation, videos, class_names)
    unscored = [{"index": bad.index, "path": bad.path, "reason": bad.reason} for bad in evaluation.unscored]
    names = {"class_names": list(class_names)} if class_names else {}
    content = {"metrics": evaluation.measures.as_dict(), **facts, **names, **findings.json, "unscored": unscored}
    write_json(folder / "results.json", content)
    for name in _TABLES:
        if name in findings.tables:
            _write_table(folder / name, findings.tables[name])
        else:  # of an earlier test of another kind
            (folder / name).unlink(missing_ok=True)
    _write_probabilities(folder / "results_probs.pkl", evaluation, videos)
    write_report(
        folder / "report.html",
        findings,
        videos,
        title=facts.get("weights") or " + ".join(facts["merged"]),
        facts=facts,
        unscored=[(bad.path, bad.reason) for bad in evaluation.unscored],
        class_names=class_names,
        timeout_seconds=decode_timeout,
        num_workers=num_workers,
    )


def _write_table(path: Path, content: Table) -> None:
    header, rows = content
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(header)
    table.writerows([table_cell(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    write_text(path, text.getvalue())


def _write_probabilities(path: Path, evaluation: Evaluation, videos: FileList) -> None:
    """Write a pickle of {paths, labels, probabilities float32 (N, K)}; rows of unscored videos are NaN.

    Labels are int64 (N,), or uint8 (N, K) where videos have several.
    """
    content = {
        "paths": videos.paths,
        "labels": videos.labels,
        "probabilities": evaluation.probabilities.astype(np.float32),
    }
    with atomic_write(path) as handle:
        pickle.dump(content, handle, protocol=2)
