"""Facts about a video file (size, length, codec), and how much of it is damaged."""

from dataclasses import dataclass
from pathlib import Path

import av

from datareader.decoding.av_decoder import AvDecoder


@dataclass(frozen=True)
class VideoFacts:
    """What a file states about its video. `num_frames` is the number of frames that a full decode yields."""

    width: int
    height: int
    num_frames: int
    promised_frames: int  # by the container; 0 if it does not say
    duration_seconds: float
    frame_rate: float
    codec: str
    frames_between_keys: float  # mean spacing of the key frames


def read_facts(path: Path) -> VideoFacts:
    """Return size, length, frame rate, codec and key-frame spacing of the video at `path`.

    Raises:
        VideoError: it cannot be opened.
    """
    decoder = AvDecoder(path)
    try:
        context, rate = decoder.codec_context, decoder.frame_rate
        keys = sum(packet.is_keyframe for packet in decoder.packets)
        return VideoFacts(
            width=context.width,
            height=context.height,
            num_frames=decoder.num_frames,
            promised_frames=decoder.promised_frames,
            duration_seconds=round(decoder.num_frames / rate, 3) if rate else 0.0,
            frame_rate=round(rate, 3),
            codec=context.name,
            frames_between_keys=round(len(decoder.packets) / max(keys, 1), 1),
        )
    finally:
        decoder.close()


def count_damaged(path: Path) -> int:
    """Decode everything; return how many packets cannot be decoded, plus how many pictures are marked as damaged."""
    damaged = 0
    with av.open(str(path), metadata_errors="replace") as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        packets = container.demux(stream)
        while True:
            packet = None
            try:
                packet = next(packets, None)
                if packet is None:
                    return damaged
                damaged += sum(frame.is_corrupt for frame in packet.decode())
            except av.error.EOFError:
                return damaged
            except av.FFmpegError:
                damaged += 1
                if packet is None:
                    return damaged
