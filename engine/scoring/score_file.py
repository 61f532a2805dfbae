"""The scores of a test while it runs, a line for each video, so that a killed test can go on where it was.

Each process appends to its own ``scores.rank<N>.jsonl``. The first line says which weights, config and list the scores
belong to; then comes a line for every video. An incomplete last line is ignored.
"""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from configs.comparison import differing_keys
from configs.loading import parse_config
from datareader.filelist import FileList
from engine.distributed import Processes
from metrics.multi_view import VideoScores
from models.registry import NETWORKS
from utils.atomic_file import errors_name, write_text
from utils.errors import ConfigError
from utils.json_text import parse_json
from utils.logging import get_logger

_FILES = "scores.rank*.jsonl"


@dataclass(frozen=True)
class Origin:
    """What scores belong to. Scores may be combined only if this is the same."""

    config_text: str
    parameters_sha256: str
    list_sha256: str  # of the paths and labels, in order
    precision: str = "fp32"

    def differences(self, other: "Origin") -> list[str]:
        """Return the differences to `other`, an earlier one, each as a phrase."""
        before, now = (parse_config(origin.config_text, "scores", networks=NETWORKS) for origin in (other, self))
        found = differing_keys(before, now, "test")
        if other.parameters_sha256 != self.parameters_sha256:
            found.append(
                f"the weights were {other.parameters_sha256[:12]}, are {self.parameters_sha256[:12]} (SHA-256)"
            )
        if other.precision != self.precision:
            found.append(f"--precision was {other.precision}, is {self.precision}")
        if other.list_sha256 != self.list_sha256:
            found.append("the list holds other videos or labels")
        return found


class ScoreFiles:
    """The earlier scores in a folder that this test may use, and the file for its own scores.

    A video whose file has changed (another size or modification time) is scored again.

    Args:
        videos: the list.
        resume: continue with the scores that are there.

    Raises:
        ConfigError: with `resume`, the scores belong to other weights, another config or another list; without it,
            there is an unfinished test of the same.
    """

    def __init__(
        self,
        folder: Path,
        origin: Origin,
        *,
        videos: FileList,
        num_views: int,
        num_classes: int,
        resume: bool,
        processes: Processes,
    ) -> None:
        self._file = folder / f"scores.rank{processes.rank}.jsonl"
        self._header = json.dumps(
            {
                "config": origin.config_text,
                "parameters_sha256": origin.parameters_sha256,
                "list_sha256": origin.list_sha256,
                "precision": origin.precision,
            }
        )
        self._videos = videos
        self._stamps = [videos.stamp(path) for path in videos.paths]  # taken before any of them is read
        self._shape = len(videos), num_views, num_classes
        self.done, used = self._read(folder, origin, resume)
        processes.wait_for_all()  # before anybody writes
        if processes.is_main:
            for file in folder.glob(_FILES):
                if file not in used:
                    aside = file.with_name(f"{file.name}.old")
                    get_logger().warning("%s holds other scores: now %s", file, aside.name)
                    file.replace(aside)
        processes.wait_for_all()
        self._handle: TextIO | None = None

    def add(self, scores: VideoScores) -> None:
        """Write the scores of a video. After this call they are on disk, even if the process is killed."""
        if self._handle is None:  # opened late: a test that scores nothing leaves no file
            own = _whole_lines(self._file)[1:] if self._file.is_file() else []
            write_text(self._file, "".join(line + "\n" for line in [self._header, *own]))
            self._handle = open(self._file, "a", encoding="utf-8")  # noqa: SIM115 - closed by `close`
        with errors_name(self._file):
            self._handle.write(_line(scores, self._stamps[scores.video]) + "\n")
            self._handle.flush()

    def close(self) -> None:
        """Close the file."""
        if self._handle is not None:
            self._handle.close()

    def _read(self, folder: Path, origin: Origin, resume: bool) -> tuple[dict[int, VideoScores], list[Path]]:
        """Return the scores to continue with, and the files that they come from."""
        found: list[tuple[VideoScores, list[int] | None]] = []
        used: list[Path] = []
        for file in sorted(folder.glob(_FILES)):
            if not file.is_file():
                raise ConfigError(f"{file}: not a regular file; remove it, or name another --save_dir")
            lines = _whole_lines(file)
            earlier = _parse_header(lines[0]) if lines else None
            if earlier is None:
                continue
            differences = origin.differences(earlier)
            if differences and resume:
                raise ConfigError(f"{file}: --resume: scores of another test: {'; '.join(differences)}")
            if not differences:
                parsed = (_parse_line(line, *self._shape) for line in lines[1:])
                found += [scores for scores in parsed if scores is not None]
                used.append(file)
        if resume:
            done = self._usable_scores(found)
            get_logger().info("%d of %d videos are scored already", len(done), len(self._videos))
            return done, used
        num_scored = len({scores.video for scores, _ in found})
        if 0 < num_scored < len(self._videos):
            raise ConfigError(
                f"{folder} holds the scores of {num_scored} of {len(self._videos)} videos of an unfinished test of "
                "the same weights: --resume goes on with it; without its scores.rank*.jsonl, or with another "
                "--save_dir, it begins anew"
            )
        return {}, []

    def _usable_scores(self, found: list[tuple[VideoScores, list[int] | None]]) -> dict[int, VideoScores]:
        """Return, by video, the scores of videos whose files have not changed since."""
        usable = {
            scores.video: scores for scores, stamp in found if stamp is None or stamp == self._stamps[scores.video]
        }
        replaced = [self._videos.paths[video] for video in {scores.video for scores, _ in found} - usable.keys()]
        if replaced:
            get_logger().warning(
                "%d videos were scored from other files (size or time differ), and are scored again: %s",
                len(replaced), ", ".join(replaced[:5]),
            )  # fmt: skip
        return usable


def _whole_lines(file: Path) -> list[str]:
    return [line for line in file.read_text(encoding="utf-8", errors="replace").split("\n")[:-1] if line]


def _line(scores: VideoScores, stamp: list[int] | None) -> str:
    return json.dumps(
        {
            "video": scores.video,
            "stamp": stamp,
            "hits": scores.hits,
            "sums": base64.b64encode(scores.combined.astype("<f8").tobytes()).decode("ascii"),
        }
    )


def _parse_line(
    line: str, num_videos: int, num_views: int, num_classes: int
) -> tuple[VideoScores, list[int] | None] | None:
    """The scores in a line, and size and time of the file they are from (None: not known); None for another line."""
    try:
        row = parse_json(line)
        combined = np.frombuffer(base64.b64decode(row["sums"], validate=True), "<f8")
        scores = VideoScores(row["video"], combined, row["hits"])
        stamp = row.get("stamp")
    except (ValueError, KeyError, TypeError):
        return None
    valid = (
        type(scores.video) is int
        and 0 <= scores.video < num_videos
        and type(scores.hits) is int
        and 0 <= scores.hits <= num_views
        and combined.shape == (num_classes,)
        and (combined >= 0).all()
        and (combined < 1.01 * num_views).all()
    )
    return (scores, stamp) if valid else None


def _parse_header(line: str) -> Origin | None:
    try:
        header: dict[str, Any] = parse_json(line)
        config_text = str(header["config"])
        parse_config(config_text, "scores", networks=NETWORKS)
        hashes = str(header["parameters_sha256"]), str(header["list_sha256"])
        return Origin(config_text, *hashes, str(header.get("precision", "fp32")))
    except (ValueError, KeyError, TypeError, ConfigError):
        return None
