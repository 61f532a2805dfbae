"""What can be said of one video at a glance: its classes, a timeline if it is long, and what a block attends to."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from configs.schema import Config
from datareader.building import build_loader, build_middle_plan
from datareader.dataset import ClipDataset
from datareader.decoding.opening import errors_of_video, open_video
from datareader.epoch_order import listed_order
from datareader.filelist import unlabelled_videos
from datareader.processes.time_limit import TimeLimitError, call_with_limit
from engine.scoring.attention import attention_of_blocks
from engine.scoring.attention_picture import block_picture
from engine.scoring.predictor import Predictor
from engine.scoring.timelines import timeline_picture
from engine.scoring.view_scorer import ViewScorer
from models.network import VideoNetwork
from utils.errors import VideoError

_SHOWN_CLASSES = 5
_MOST_WINDOWS = 40
_WINDOW_SECONDS = 4.0
_ARROWS = 20


@dataclass(frozen=True)
class VideoAnswer:
    """What is shown of a video."""

    classes: dict[str, float]  # the best ones by name, best first
    summary: str  # one line: length, engine, time
    timeline: bytes | None  # PNG; of videos of more than two windows
    attention: bytes | None  # PNG; of networks with non-local blocks


class VideoAnswerer:
    """Answers for videos, one after the other.

    Args:
        network: in dygraph, for its attention.
        scorer: what scores views of it.
        class_names: empty if they are not known.
        time_limit_seconds: how long an answer may take.
        longest_seconds: of a video.
    """

    def __init__(
        self,
        network: VideoNetwork,
        scorer: ViewScorer,
        config: Config,
        *,
        class_names: Sequence[str],
        time_limit_seconds: float,
        longest_seconds: float,
    ) -> None:
        section = replace(config.INFER, num_reader_threads=0, decode_timeout=time_limit_seconds)
        one_view = replace(section, num_test_clips=1, use_multi_crop=0)
        several = config.MODEL.multi_label
        self._whole = Predictor(scorer, section, class_names=class_names, multi_label=several)
        self._windows = Predictor(scorer, one_view, class_names=class_names, multi_label=several)
        self._network = network
        self._scorer = scorer
        self._section = section
        self._time_limit_seconds = time_limit_seconds
        self._longest_seconds = longest_seconds

    def answer(self, path: Path) -> VideoAnswer:
        """Return the answer for the file at `path`.

        Raises:
            VideoError: it cannot be read, is too long, or takes too long. The line does not name the path.
        """
        try:
            return call_with_limit(partial(self._answer, path), timeout_seconds=self._time_limit_seconds)
        except TimeLimitError as error:
            raise VideoError(f"the answer took longer than {self._time_limit_seconds:g} seconds") from error
        except VideoError as error:
            raise VideoError(str(error).replace(str(path), "the video")) from error

    def _answer(self, path: Path, is_alive: Callable[[], None]) -> VideoAnswer:
        """`is_alive` is never called: the limit is that of the whole answer."""
        began = time.monotonic()
        num_frames, seconds = self._length(path)
        (item,) = self._whole.predict(str(path), top_k=_SHOWN_CLASSES)
        if item.error:
            raise VideoError(item.error)
        classes = dict(zip(item.names, item.probabilities, strict=True))
        timeline = self._timeline(path, seconds) if seconds > 2 * _WINDOW_SECONDS else None
        attention = self._attention(path) if self._network.nonlocal_blocks else None
        summary = (
            f"{num_frames} frames, {seconds:.1f} s; {self._scorer.engine} {self._scorer.precision}: "
            f"{time.monotonic() - began:.1f} s for the answer"
        )
        return VideoAnswer(classes, summary, timeline, attention)

    def _length(self, path: Path) -> tuple[int, float]:
        """Frames, and seconds; 0 seconds where the file does not tell."""
        video = open_video(path)
        try:
            with errors_of_video("the video"):
                count = video.num_frames
                seconds = float(video.times_seconds[-1]) + 1 / video.frame_rate if video.frame_rate > 0 else 0.0
        finally:
            video.close()
        if seconds > self._longest_seconds:
            raise VideoError(f"the video is {seconds:.0f} s long; at most {self._longest_seconds:g} are answered for")
        return count, seconds

    def _timeline(self, path: Path, seconds: float) -> bytes | None:
        stride = max(_WINDOW_SECONDS / 2, seconds / _MOST_WINDOWS)
        found = self._windows.predict(str(path), top_k=_SHOWN_CLASSES, window=_WINDOW_SECONDS, stride=stride)
        windows = [replace(item, path="the video") for item in found if not item.error]
        return timeline_picture(windows) if windows else None

    def _attention(self, path: Path) -> bytes | None:
        dataset = ClipDataset(unlabelled_videos([str(path)]), build_middle_plan(self._section))
        with build_loader(dataset, self._section, batch_size=1) as loader:
            (batch,) = loader.batches(listed_order(1))
        if batch.bad_videos:
            return None
        blocks, _ = attention_of_blocks(self._network, batch.clips[0, 0], strongest=1)
        title = f"what {blocks[-1].name} attends to in the middle of the video"
        return block_picture(batch.clips[0, 0], blocks[-1], top=_ARROWS, title=title)
