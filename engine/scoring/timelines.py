"""Timelines of windows: the three best classes over time, as a table and as pictures."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

from engine.scoring.caption import drawable_name, warn_of_lost_names
from engine.scoring.predictor import Prediction
from utils.atomic_file import atomic_write, write_text
from utils.pictures import new_figure, picture_text, png_of
from utils.printable import table_cell

_SHOWN_CLASSES = 3  # of each window
_TITLES = ("best", "second", "third")
_LARGEST_LEGEND = 12
_LONGEST_STEM = 40  # characters of a name, of up to four bytes each, in the name of a picture


def write_timelines(folder: Path, items: Iterable[Prediction]) -> list[Path]:
    """Write ``timeline.csv``, the three best classes of every window, and a picture of each video; return the files."""
    windows = [item for item in items if item.start_seconds is not None and not item.error]
    warn_of_lost_names(windows, _SHOWN_CLASSES)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    ranks = ("", *(f"_{rank}" for rank in range(2, _SHOWN_CLASSES + 1)))
    columns = [f"{name}{rank}" for rank in ranks for name in ("class", "name", "probability")]
    table.writerow(["path", "start_seconds", "end_seconds", *columns])
    for item in windows:
        times = (round(item.start_seconds, 3), round(item.end_seconds, 3))
        table.writerow([table_cell(item.path), *times, *chain.from_iterable(_best_cells(item))])
    for earlier in folder.glob("timeline_[0-9][0-9][0-9]*_*.png"):
        earlier.unlink()
    files = [folder / "timeline.csv"]
    write_text(files[0], text.getvalue())
    for number, of_video in enumerate(by_video(windows)):
        stem = re.sub(r"[^\w.-]+", "_", Path(of_video[0].path).stem)[:_LONGEST_STEM]
        files.append(folder / f"timeline_{number:03d}_{stem}.png")
        with atomic_write(files[-1]) as handle:
            handle.write(timeline_picture(of_video))
    return files


def _best_cells(item: Prediction) -> Iterator[tuple[Any, ...]]:
    """Class, name and probability of the best classes; empty cells where there are fewer."""
    for rank in range(_SHOWN_CLASSES):
        if rank < len(item.classes):
            yield item.classes[rank], table_cell(item.names[rank]), round(item.probabilities[rank], 6)
        else:
            yield "", "", ""


def by_video(windows: Iterable[Prediction]) -> list[list[Prediction]]:
    """Group the windows by video. If a video is listed twice in a row, its times begin again."""
    videos: list[list[Prediction]] = []
    for item in windows:
        last = videos[-1][-1] if videos else None
        if last is None or item.path != last.path or item.start_seconds <= last.start_seconds:
            videos.append([])
        videos[-1].append(item)
    return videos


def timeline_picture(windows: Sequence[Prediction]) -> bytes:
    """Return a PNG file with the probabilities of the best classes of a video over time, a panel for each rank.

    Overlapping windows divide the time between their middles. A class has one colour in all panels; the most frequent
    ones have one.
    """
    from matplotlib import colormaps
    from matplotlib.patches import Patch

    num_ranks = min(_SHOWN_CLASSES, max(len(item.names) for item in windows))
    starts, ends = edges(windows)
    counts: dict[str, float] = {}
    numbers = {name: class_ for item in windows for name, class_ in zip(item.names, item.classes, strict=True)}
    for item in windows:
        for rank, name in enumerate(item.names[:num_ranks]):
            counts[name] = counts.get(name, 0) + 1 / (1 + 9 * rank)  # a best one counts ten times a second one
    names = sorted(counts, key=lambda name: -counts[name])
    palette = colormaps["tab20"]
    colours = dict.fromkeys(names, "lightgrey") | {name: palette(k) for k, name in enumerate(names[:_LARGEST_LEGEND])}
    edge = 1.0 if len(windows) <= 100 else 0.0  # wider than the bars, it would hide them
    figure = new_figure(10, 1.2 + 1.3 * num_ranks + 0.2 * (min(len(names), _LARGEST_LEGEND) // 4))
    panels = figure.subplots(num_ranks, 1, sharex=True, squeeze=False)[:, 0]
    for rank, axes in enumerate(panels):
        for item, start, end in zip(windows, starts, ends, strict=True):
            if rank < len(item.names):
                axes.bar(
                    start, item.probabilities[rank], end - start,
                    align="edge", color=colours[item.names[rank]], edgecolor="white", linewidth=edge,
                )  # fmt: skip
        axes.set(xlim=(starts[0], ends[-1]), ylim=(0, 1), ylabel=_TITLES[rank])
    panels[-1].set_xlabel("time, s")
    panels[0].set_title(f"{picture_text(Path(windows[0].path).name)}: probability of the best classes", fontsize=10)
    shown = {name: picture_text(drawable_name(name, numbers[name])) for name in names[:_LARGEST_LEGEND]}
    patches = [Patch(color=colours[name], label=label) for name, label in shown.items()]
    if len(names) > _LARGEST_LEGEND:
        patches.append(Patch(color="lightgrey", label=f"{len(names) - _LARGEST_LEGEND} others"))
    figure.legend(handles=patches, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return png_of(figure)


def edges(windows: Sequence[Prediction]) -> tuple[list[float], list[float]]:
    """Return where each window of a video begins and ends where it is shown, seconds: overlaps are divided."""
    between = [(a.end_seconds + b.start_seconds) / 2 for a, b in pairwise(windows)]
    starts = [windows[0].start_seconds, *(max(e, w.start_seconds) for e, w in zip(between, windows[1:], strict=True))]
    ends = [*(min(e, w.end_seconds) for e, w in zip(between, windows, strict=False)), windows[-1].end_seconds]
    return starts, ends
