"""Inference on a stream: an answer for each window of what arrives, on the screen and in a file as it is made."""

import time
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from datareader.decoding.held_frames import HeldFrames
from datareader.held_videos import HeldVideos
from datareader.streaming.receiver import StreamReceiver
from datareader.streaming.source import StreamSource
from datareader.streaming.windows import LiveWindow
from engine.scoring.locked_file import end_last_line, open_locked
from engine.scoring.prediction_files import as_json, as_text
from engine.scoring.predictor import Prediction, Predictor
from engine.stopping import StopRequest
from utils.errors import ConfigError
from utils.logging import get_logger

_SHORTEST_SECONDS = 0.01


def run_stream(
    predictor: Predictor,
    source: StreamSource,
    *,
    window: float,
    stride: float,
    patience_seconds: float,
    network_name: str,
    save_dir: Path,
    top_k: int,
    screen: Literal["text", "jsonl"] = "text",
) -> bool:
    """Answer for a window of `window` seconds, one every `stride` seconds, until the stream or the user ends it.

    Each answer is a line of ``NETWORK_stream_result.jsonl``, with the time of this machine at which its window was
    whole. Lines of earlier runs stay. Nothing else is kept, so that a stream may last for ever.

    Args:
        predictor: reads in this process: INFER.num_reader_threads is 0.
        patience_seconds: how long the stream may give nothing.

    Returns:
        whether the stream was seen to its end, or to that of the user's wish; False: it was lost.

    Raises:
        VideoError: it cannot be opened, or read; what was answered until then is on disk.
        ConfigError: another run is writing the file, or a length is too short.
    """
    for name, seconds in (("window", window), ("stride", stride)):
        if seconds < _SHORTEST_SECONDS:
            raise ConfigError(f"--{name} ({seconds:g}) must be at least {_SHORTEST_SECONDS} seconds")
    path = save_dir / f"{network_name}_stream_result.jsonl"
    num_answers, is_advised = 0, False
    receiver = StreamReceiver(
        source,
        short_side=predictor.plan.frame_side((0,)),
        window=window,
        stride=stride,
        patience_seconds=patience_seconds,
    )
    with open_locked(path) as file, StopRequest("ending with the answers so far") as request, receiver:
        end_last_line(file)
        get_logger().info("%s: an answer every %g seconds; Ctrl-C ends it", source.shown, stride)
        for seen in receiver.windows(lambda: request.is_set):
            began = time.monotonic()
            received = datetime.fromtimestamp(seen.whole_at, timezone.utc).isoformat(timespec="milliseconds")
            answer = _answer(predictor, source.shown, seen, top_k)
            line = as_json(answer, received=received)
            file.write(f"{line}\n")
            file.flush()
            print(line if screen == "jsonl" else as_text(answer), flush=True)
            num_answers += 1
            seconds = time.monotonic() - began
            if receiver.counts.skipped and seconds > stride and not is_advised:
                is_advised = True
                get_logger().warning(
                    "an answer takes %.1f seconds, and one is due every %g: windows are left out; fewer views "
                    "(--views 1x1) or a longer --stride help", seconds, stride,
                )  # fmt: skip
    counts = receiver.counts
    get_logger().info(
        "%d answers in %s; %d frames seen; dropped: %d frames because decoding fell behind, %d windows because the "
        "network did; %d damaged packets, %d connections again",
        num_answers, path, counts.frames, counts.dropped, counts.skipped, counts.damaged, counts.reconnections,
    )  # fmt: skip
    if receiver.lost:
        get_logger().error("%s was lost: %s", source.shown, receiver.lost)
    return not receiver.lost


def _answer(predictor: Predictor, name: str, seen: LiveWindow, top_k: int) -> Prediction:
    held = HeldFrames(name, seen.frames, times_seconds=seen.times_seconds)
    (answer,) = predictor.predict(HeldVideos([name], {name: held}), top_k=top_k)
    return replace(answer, start_seconds=seen.start_seconds, end_seconds=seen.end_seconds)
