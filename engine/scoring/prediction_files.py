"""Predictions as people and programs read them: text, JSON lines, the old pickle."""

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.scoring.predictor import Prediction
from utils.atomic_file import atomic_write, write_text
from utils.printable import is_hidden, printable

_SHOWN_CLASSES = 5


def as_text(item: Prediction) -> str:
    """Return a few lines: the video and its best classes; where it may have several labels, those it has are marked."""
    lines = [item.path if item.start_seconds is None else f"{item.path}  {_clock(item)}"]
    shown = _SHOWN_CLASSES if item.labels is None else max(_SHOWN_CLASSES, len(item.labels))
    for class_, probability, name in list(zip(item.classes, item.probabilities, item.names, strict=True))[:shown]:
        mark = "*" if item.labels is not None and class_ in item.labels else " "
        lines.append(f"  {mark} {100 * probability:6.2f} %  {name}")
    return "\n".join(printable(" ".join(line.splitlines())) for line in lines)


def as_json(item: Prediction, *, received: str = "") -> str:
    """Return a line of JSON: the path, start_seconds and end_seconds of a window, and the predictions or the error.

    Args:
        received: when a window of a stream was whole.
    """
    row: dict[str, Any] = {"path": item.path, **({"received": received} if received else {})}
    if item.start_seconds is not None:
        row |= {"start_seconds": round(item.start_seconds, 3), "end_seconds": round(item.end_seconds, 3)}
    if item.error:
        row["error"] = item.error
    else:
        if item.labels is not None:
            row["labels"] = list(item.labels)
        columns = zip(item.classes, item.names, item.probabilities, strict=True)
        row["predictions"] = [
            {"class": class_, "name": name, "probability": probability} for class_, name, probability in columns
        ]
    text = json.dumps(row, ensure_ascii=False)
    # What a terminal might obey, and bytes of a path that are no UTF-8: as JSON escapes, which are read back the same.
    return text if text.isprintable() else "".join(json.dumps(c)[1:-1] if is_hidden(c) else c for c in text)


def write_predictions(path: Path, items: Sequence[Prediction]) -> None:
    """Write `path`, the old pickle (protocol 2: [(path, [probability, ...], [class, ...]), ...]), and `path`.jsonl.

    The pickle holds the videos that could be read. A window is named ``path#t=start,end`` in seconds, as in W3C media
    fragments.
    """
    rows = [(_video_id(item), list(item.probabilities), list(item.classes)) for item in items if not item.error]
    with atomic_write(path) as handle:
        pickle.dump(rows, handle, protocol=2)
    write_text(path.with_name(f"{path.name}.jsonl"), "".join(as_json(item) + "\n" for item in items))


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
