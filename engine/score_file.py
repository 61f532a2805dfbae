"""The scores of a test while it runs: one line a video, so that a test that was killed goes on where it was.

Each process appends to its own ``scores.rank<N>.jsonl``: first what the scores belong to, then a line for every video
that is scored. A line that a kill cut short is no line.
"""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from configs.comparison import differing_keys
from configs.loading import dump_config, parse_config
from configs.schema import Config
from engine.distributed import Processes
from metrics.multi_view import VideoScores
from utils.atomic_file import write_text
from utils.errors import ConfigError
from utils.logging import get_logger

# What may differ between the parts of one test. Only what shapes the network counts of TRAIN.
_MAY_DIFFER = {
    "MODEL": {"name", "dataset", "pretrain"},
    "RESNETS": set(),
    "NONLOCAL": {"chunk_size"},
    "TEST": {
        "filelist", "filename_gt", "data_root", "num_reader_threads", "decode_timeout", "stall_seconds", "batch_size",
        "checkpoint_dir", "dataset_size",
    },
}  # fmt: skip
_FILES = "scores.rank*.jsonl"
_SHAPING = ("video_length", "crop_size")


@dataclass(frozen=True)
class Origin:
    """What scores belong to: only those of the same belong together."""

    config: Config
    parameters_sha256: str
    list_sha256: str  # of the paths and labels, in their order
    precision: str = "fp32"

    def differences(self, other: "Origin") -> list[str]:
        """What tells `other`, an earlier one, from this one."""
        found = differing_keys(other.config, self.config, _MAY_DIFFER)
        for key in _SHAPING:
            before, now = getattr(other.config.TRAIN, key), getattr(self.config.TRAIN, key)
            if before != now:
                found.append(f"TRAIN.{key} was {before}, is {now}")
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
    """The scores in a folder that this test may use, and the place for its own.

    Args:
        resume: go on with what is there.

    Raises:
        ConfigError: there are scores of other weights or another config to go on with, or, without `resume`, of an
            unfinished test of the same.
    """

    def __init__(
        self,
        folder: Path,
        origin: Origin,
        *,
        num_videos: int,
        num_views: int,
        num_classes: int,
        resume: bool,
        processes: Processes,
    ) -> None:
        self._file = folder / f"scores.rank{processes.rank}.jsonl"
        self._header = json.dumps(
            {
                "config": dump_config(origin.config),
                "parameters_sha256": origin.parameters_sha256,
                "list_sha256": origin.list_sha256,
                "precision": origin.precision,
            }
        )
        self._shape = num_videos, num_views, num_classes
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
        """Write down a video; once this returns, a kill does not lose it."""
        if self._handle is None:  # a test that scores nothing leaves nothing
            own = _whole_lines(self._file)[1:] if self._file.is_file() else []
            write_text(self._file, "".join(line + "\n" for line in [self._header, *own]))
            self._handle = open(self._file, "a", encoding="utf-8")  # noqa: SIM115 - closed by `close`
        self._handle.write(_line(scores) + "\n")
        self._handle.flush()

    def close(self) -> None:
        """Close the file; what was added stays."""
        if self._handle is not None:
            self._handle.close()

    def _read(self, folder: Path, origin: Origin, resume: bool) -> tuple[dict[int, VideoScores], list[Path]]:
        """The scores to go on with, and the files that they are from."""
        done: dict[int, VideoScores] = {}
        used: list[Path] = []
        num_videos = self._shape[0]
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
                rows = [_parse_line(line, *self._shape) for line in lines[1:]]
                done |= {row.video: row for row in rows if row is not None}
                used.append(file)
        if done and not resume:
            if len(done) < num_videos:
                raise ConfigError(
                    f"{folder} holds the scores of {len(done)} of {num_videos} videos of an unfinished test of the "
                    "same weights: --resume goes on with it; without its scores.rank*.jsonl, or with another "
                    "--save_dir, it begins anew"
                )
            return {}, []
        if resume:
            get_logger().info("%d of %d videos are scored already", len(done), num_videos)
        return done, used


def _whole_lines(file: Path) -> list[str]:
    return [line for line in file.read_text(encoding="utf-8", errors="replace").split("\n")[:-1] if line]


def _line(scores: VideoScores) -> str:
    return json.dumps(
        {
            "video": scores.video,
            "hits": scores.hits,
            "sums": base64.b64encode(scores.sums.astype("<f8").tobytes()).decode("ascii"),
        }
    )


def _parse_line(line: str, num_videos: int, num_views: int, num_classes: int) -> VideoScores | None:
    try:
        row = json.loads(line)
        sums = np.frombuffer(base64.b64decode(row["sums"], validate=True), "<f8")
        scores = VideoScores(row["video"], sums, row["hits"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    valid = (
        type(scores.video) is int
        and 0 <= scores.video < num_videos
        and type(scores.hits) is int
        and 0 <= scores.hits <= num_views
        and sums.shape == (num_classes,)
        and (sums >= 0).all()
        and abs(sums.sum() - num_views) < 0.01 * num_views
    )
    return scores if valid else None


def _parse_header(line: str) -> Origin | None:
    try:
        header: dict[str, Any] = json.loads(line)
        config = parse_config(header["config"], "scores")
        hashes = str(header["parameters_sha256"]), str(header["list_sha256"])
        return Origin(config, *hashes, str(header.get("precision", "fp32")))
    except (ValueError, KeyError, TypeError, RecursionError, ConfigError):
        return None
