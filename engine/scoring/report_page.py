"""``report.html``: the results of a test as one page that needs no other file, with frames of videos."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np

from datareader.decoding.opening import decode_frames
from datareader.filelist import FileList
from datareader.processes.per_video import for_each_video
from engine.scoring.findings import Findings, namer
from metrics.percentages import percent, with_interval
from utils.atomic_file import write_text
from utils.errors import VideoToolkitError
from utils.logging import get_logger
from utils.printable import printable_line

_STRIP_FRAMES = 8
_MOST_WORKERS = 2
_STRIP_HEIGHT = 96  # pixels
_JPEG_QUALITY = 80


def write_report(
    path: Path,
    findings: Findings,
    videos: FileList,
    *,
    title: str,
    facts: Mapping[str, Any],
    unscored: Sequence[tuple[str, str]],
    class_names: Sequence[str] = (),
    timeout_seconds: float = 120.0,
    num_workers: int = 2,
) -> None:
    """Write the page. A video that cannot be read any more has no strip of frames.

    Args:
        title: what was tested.
        facts: how the results were made.
        unscored: path and reason.
        class_names: by class; empty: numbers are shown.
        timeout_seconds: for each strip.
        num_workers: reader processes that decode them, few of them at most, for it is little work; 0: this process.
    """
    strips = {}
    if findings.shown:
        workers = min(num_workers, _MOST_WORKERS)
        strips = _strips(videos, findings.shown, timeout_seconds=timeout_seconds, num_workers=workers)
    folder = Path(__file__).parent / "templates"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    name = namer(class_names)
    environment.filters |= {
        "class_name": lambda label: printable_line(name(label)),
        "percent": percent,
        "clean": printable_line,
    }
    environment.filters |= {"with_interval": with_interval}
    environment.filters |= {"picture": lambda content: _as_data(content, "png")}
    page = environment.get_template(findings.template).render(
        title=title, tiles=findings.tiles, facts=facts, unscored=unscored, strips=strips, **findings.page
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


def _as_data(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
