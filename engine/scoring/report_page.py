"""``report.html``: the results of a test as one page that needs no other file, with pictures of the mistakes."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np

from datareader.decoding.opening import decode_frames
from datareader.filelist import FileList
from datareader.processes.per_video import for_each_video
from metrics.report import Accuracy
from utils.atomic_file import write_text
from utils.errors import VideoToolkitError
from utils.logging import get_logger
from utils.pictures import new_figure, picture_text, png_of

_STRIP_FRAMES = 8
_MOST_WORKERS = 2
_STRIP_HEIGHT = 96  # pixels
_JPEG_QUALITY = 80
_LARGEST_MATRIX = 40  # classes up to which the confusion matrix is labelled


@dataclass(frozen=True)
class Mistake:
    """A video that was given a wrong class."""

    index: int
    path: str
    label: int
    classes: list[int]  # best first
    probabilities: list[float]
    of_label: float  # probability of the label


@dataclass(frozen=True)
class Report:
    """What the page shows."""

    title: str  # what was tested
    accuracy: Accuracy
    facts: dict[str, Any]
    classes: list[dict[str, Any]]  # of metrics.classes.ClassAccuracy
    confusion: np.ndarray  # int64 (K, K), label by answer
    confidences: np.ndarray  # probability of the answer, of each scored video
    correct: np.ndarray  # bool, of the same
    mistakes: list[Mistake]
    num_mistakes: int
    unscored: list[tuple[str, str]]  # path, reason


def write_report(
    path: Path,
    report: Report,
    videos: FileList,
    *,
    class_names: Sequence[str] = (),
    timeout_seconds: float = 120.0,
    num_workers: int = 2,
) -> None:
    """Write the page. A video that cannot be read any more has no strip of frames.

    Args:
        class_names: by class; empty: numbers are shown.
        timeout_seconds: for each strip.
        num_workers: reader processes that decode them, few of them at most, for it is little work; 0: this process.
    """
    indices = [mistake.index for mistake in report.mistakes]
    num_workers = min(num_workers, _MOST_WORKERS)
    strips = {}
    if indices:
        strips = _strips(videos, indices, timeout_seconds=timeout_seconds, num_workers=num_workers)
    folder = Path(__file__).parent / "templates"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip

    def name(label: int) -> str:
        return _clean(f"{label} {class_names[label]}" if class_names else f"class {label}")

    environment.filters |= {"class_name": name, "percent": _percent, "clean": _clean}
    page = environment.get_template("report.html").render(
        report=report,
        strips=strips,
        confusion_plot=_as_data(_draw_confusion(report.confusion, report.classes, name), "png"),
        classes_plot=_as_data(_draw_classes(report.classes, name), "png"),
        confidence_plot=_as_data(_draw_confidence(report.confidences, report.correct), "png"),
    )
    write_text(path, page)


def _strips(videos: FileList, indices: Sequence[int], *, timeout_seconds: float, num_workers: int) -> dict[int, str]:
    """Return strips of frames by the index of the video. Videos that cannot be read any more are left out."""
    strips = {}
    try:
        for outcome in for_each_video(
            videos, strip_of_video, indices,
            num_workers=num_workers, timeout_seconds=timeout_seconds, limit_name="decode_timeout",
        ):  # fmt: skip
            if outcome.value is not None:
                strips[outcome.index] = _as_data(outcome.value, "jpeg")
    except VideoToolkitError as error:  # the test is done; its page comes without some pictures
        get_logger().warning("report.html lacks pictures: %s", error)
    return strips


def strip_of_video(path: Path, listed: str) -> bytes:
    """Return eight frames of a video side by side, from the first to the last, as a JPEG file.

    Raises:
        VideoError: it cannot be read.
    """
    frames, order = decode_frames(
        path, lambda n: np.linspace(0, n - 1, _STRIP_FRAMES).astype(np.int64), short_side=2 * _STRIP_HEIGHT
    )
    height, width = frames.shape[1:3]
    width = min(max(round(width * _STRIP_HEIGHT / height), 1), 3 * _STRIP_HEIGHT)
    small = [cv2.resize(frame, (width, _STRIP_HEIGHT), interpolation=cv2.INTER_AREA) for frame in frames]
    strip = np.concatenate([small[position] for position in order], axis=1)
    _, content = cv2.imencode(".jpg", strip[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return content.tobytes()


def _draw_confusion(confusion: np.ndarray, classes: Sequence[dict[str, Any]], name: Callable[[int], str]) -> bytes:
    """Draw for each class how its videos were answered. Classes without a video are left out."""
    figure, axes = _axes(7.0, 6.4)
    shown = sorted({row["label"] for row in classes} | set(np.flatnonzero(confusion.sum(axis=0)).tolist()))
    part = confusion[np.ix_(shown, shown)]
    shares = part / np.maximum(part.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues", interpolation="nearest")
    figure.colorbar(image, ax=axes, label="share of the label's videos", fraction=0.046)
    axes.set(xlabel="answer", ylabel="label")
    if len(shown) <= _LARGEST_MATRIX:
        labels = [picture_text(name(label)[:24]) for label in shown]
        axes.set_xticks(range(len(shown)), labels, rotation=90, fontsize=8)
        axes.set_yticks(range(len(shown)), labels, fontsize=8)
    if len(shown) <= 15:
        for (row, column), count in np.ndenumerate(part):
            if count:
                colour = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)
    return png_of(figure)


def _draw_classes(classes: Sequence[dict[str, Any]], name: Callable[[int], str]) -> bytes:
    """Draw the accuracy of the classes, best first."""
    figure, axes = _axes(7.0, 3.0)
    rows = sorted((row for row in classes if row["top1"] is not None), key=lambda row: -row["top1"])
    axes.bar(range(len(rows)), [row["top1"] for row in rows], width=0.9)
    if len(rows) <= _LARGEST_MATRIX:
        labels = [picture_text(name(row["label"])[:24]) for row in rows]
        axes.set_xticks(range(len(rows)), labels, rotation=90 if len(rows) > 5 else 0, fontsize=8)
    else:
        axes.set_xticks([])
    axes.set(xlabel="classes, best first", ylabel="top-1", ylim=(0, 1))
    return png_of(figure)


def _draw_confidence(confidences: np.ndarray, correct: np.ndarray) -> bytes:
    """Draw the probabilities of the right and of the wrong answers."""
    figure, axes = _axes(7.0, 3.0)
    bins = np.linspace(0, 1, 21)
    axes.hist([confidences[correct], confidences[~correct]], bins, stacked=True, label=["right", "wrong"])
    axes.set(xlabel="probability of the answer", ylabel="videos", xlim=(0, 1))
    axes.legend(frameon=False)
    return png_of(figure)


def _axes(width: float, height: float) -> tuple[Any, Any]:
    figure = new_figure(width, height)
    return figure, figure.add_subplot()


def _as_data(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"


def _clean(text: str) -> str:
    """Return `text` with question marks for bytes of a file name that are not UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")
