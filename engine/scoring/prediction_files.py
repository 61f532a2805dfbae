"""Predictions as people and programs read them: text, JSON lines, the old pickle, timelines of windows."""

import csv
import io
import json
import pickle
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from engine.scoring.predictor import Prediction
from utils.atomic_file import atomic_write, write_text
from utils.pictures import new_figure, picture_text, png_of

_SHOWN_CLASSES = 5
_LARGEST_LEGEND = 12


def as_text(item: Prediction) -> str:
    """Return a few lines: the video and its best classes."""
    path = "".join(c if c.isprintable() or "\udc80" <= c <= "\udcff" else "?" for c in item.path)
    lines = [path if item.start_seconds is None else f"{path}  {_clock(item)}"]
    for probability, name in list(zip(item.probabilities, item.names, strict=True))[:_SHOWN_CLASSES]:
        lines.append(f"    {100 * probability:6.2f} %  {name}")
    return "\n".join(lines)


def as_json(item: Prediction) -> str:
    """Return a line of JSON: the path, start_seconds and end_seconds of a window, and the predictions or the error."""
    row: dict[str, Any] = {"path": item.path}
    if item.start_seconds is not None:
        row |= {"start_seconds": round(item.start_seconds, 3), "end_seconds": round(item.end_seconds, 3)}
    if item.error:
        row["error"] = item.error
    else:
        columns = zip(item.classes, item.names, item.probabilities, strict=True)
        row["predictions"] = [
            {"class": class_, "name": name, "probability": probability} for class_, name, probability in columns
        ]
    text = json.dumps(row, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")  # bytes of a path that are no UTF-8, escaped


def write_predictions(path: Path, items: Sequence[Prediction]) -> None:
    """Write `path`, the old pickle (protocol 2: [(path, [probability, ...], [class, ...]), ...]), and `path`.jsonl.

    The pickle holds the videos that could be read. A window is named ``path#t=start,end`` in seconds, as in W3C media
    fragments.
    """
    rows = [(_video_id(item), list(item.probabilities), list(item.classes)) for item in items if not item.error]
    with atomic_write(path) as handle:
        pickle.dump(rows, handle, protocol=2)
    write_text(path.with_name(f"{path.name}.jsonl"), "".join(as_json(item) + "\n" for item in items))


def write_timelines(folder: Path, items: Iterable[Prediction]) -> list[Path]:
    """Write ``timeline.csv``, the best class of every window, and a picture of each video; return the files."""
    windows = [item for item in items if item.start_seconds is not None and not item.error]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["path", "start_seconds", "end_seconds", "class", "name", "probability"])
    for item in windows:
        times = (round(item.start_seconds, 3), round(item.end_seconds, 3))
        table.writerow([item.path, *times, item.classes[0], item.names[0], round(item.probabilities[0], 6)])
    for earlier in folder.glob("timeline_[0-9][0-9][0-9]*_*.png"):
        earlier.unlink()
    files = [folder / "timeline.csv"]
    write_text(files[0], text.getvalue())
    for number, of_video in enumerate(by_video(windows)):
        stem = re.sub(r"[^\w.-]+", "_", Path(of_video[0].path).stem)[:60]
        files.append(folder / f"timeline_{number:03d}_{stem}.png")
        _draw_timeline(files[-1], of_video[0].path, of_video)
    return files


def by_video(windows: Iterable[Prediction]) -> list[list[Prediction]]:
    """Group the windows by video. If a video is listed twice in a row, its times begin again."""
    videos: list[list[Prediction]] = []
    for item in windows:
        last = videos[-1][-1] if videos else None
        if last is None or item.path != last.path or item.start_seconds <= last.start_seconds:
            videos.append([])
        videos[-1].append(item)
    return videos


def _draw_timeline(file: Path, path: str, windows: Sequence[Prediction]) -> None:
    """Draw the probability of the best class over time. Overlapping windows divide the time between their middles."""
    from matplotlib import colormaps
    from matplotlib.patches import Patch

    middles = [(item.start_seconds + item.end_seconds) / 2 for item in windows]
    edges = [(a + b) / 2 for a, b in pairwise(middles)]
    starts = [windows[0].start_seconds, *(max(e, w.start_seconds) for e, w in zip(edges, windows[1:], strict=True))]
    ends = [*(min(e, w.end_seconds) for e, w in zip(edges, windows, strict=False)), windows[-1].end_seconds]
    names = sorted({item.names[0] for item in windows}, key=lambda name: -sum(i.names[0] == name for i in windows))
    palette = colormaps["tab20"]
    colours = dict.fromkeys(names, "lightgrey") | {name: palette(k) for k, name in enumerate(names[:_LARGEST_LEGEND])}
    edge = 1.0 if len(windows) <= 100 else 0.0  # wider than the bars, it would hide them
    figure = new_figure(10, 3.2 + 0.2 * (min(len(names), _LARGEST_LEGEND) // 4))
    axes = figure.add_subplot()
    for item, start, end in zip(windows, starts, ends, strict=True):
        colour = colours[item.names[0]]
        axes.bar(
            start, item.probabilities[0], end - start, align="edge", color=colour, edgecolor="white", linewidth=edge
        )
    axes.set(xlim=(starts[0], ends[-1]), ylim=(0, 1), xlabel="time, s", ylabel="probability of the best class")
    axes.set_title(picture_text(Path(path).name), fontsize=10)
    patches = [Patch(color=colours[name], label=picture_text(name)) for name in names[:_LARGEST_LEGEND]]
    if len(names) > _LARGEST_LEGEND:
        patches.append(Patch(color="lightgrey", label=f"{len(names) - _LARGEST_LEGEND} others"))
    figure.legend(handles=patches, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    with atomic_write(file) as handle:
        handle.write(png_of(figure))


def _clock(item: Prediction) -> str:
    def text(seconds: float) -> str:
        minutes, rest = divmod(round(seconds, 1), 60)
        return f"{int(minutes)}:{rest:04.1f}"

    return f"{text(item.start_seconds)} - {text(item.end_seconds)}"


def _video_id(item: Prediction) -> str:
    if item.start_seconds is None:
        return item.path
    start, end = (f"{seconds:.3f}".rstrip("0").rstrip(".") for seconds in (item.start_seconds, item.end_seconds))
    return f"{item.path}#t={start},{end}"
