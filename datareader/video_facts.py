"""Facts about a video file (size, length, codec), and how much of it is damaged."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datareader.decoding.av_decoder import AvDecoder
from datareader.decoding.frame_folder import FrameFolder, is_frame_folder
from datareader.decoding.parts import segment_of
from datareader.decoding.streams import decode_all, open_stream


@dataclass(frozen=True)
class VideoFacts:
    """What is known about the video of a file."""

    width: int  # as it is shown
    height: int
    num_frames: int  # that a full decode yields
    num_packets: int  # of shown frames
    promised_frames: int  # by the container; 0 if it does not say
    duration_seconds: float
    frame_rate: float
    codec: str
    frames_between_keys: float  # mean spacing of the key frames


def read_facts(path: Path) -> VideoFacts:
    """Return size, length, frame rate, codec and key-frame spacing of the video at `path`; of a segment, of the whole.

    Raises:
        VideoError: it cannot be opened.
    """
    if (part := segment_of(path)) is not None:
        return read_facts(part[0])
    if is_frame_folder(path):
        return _facts_of_pictures(FrameFolder(path))
    decoder = AvDecoder(path)
    try:
        context, rate = decoder.codec_context, decoder.frame_rate
        height, width = decoder.first_size
        keys = sum(packet.is_keyframe for packet in decoder.packets)
        return VideoFacts(
            width=width,
            height=height,
            num_frames=decoder.num_frames,
            num_packets=sum(not packet.is_discard for packet in decoder.packets),
            promised_frames=decoder.promised_frames,
            duration_seconds=round(decoder.num_frames / rate, 3) if rate else 0.0,
            frame_rate=round(rate, 3),
            codec=context.name,
            frames_between_keys=round(len(decoder.packets) / max(keys, 1), 1),
        )
    finally:
        decoder.close()


def _facts_of_pictures(folder: FrameFolder) -> VideoFacts:
    height, width = folder.first_size
    return VideoFacts(
        width=width,
        height=height,
        num_frames=folder.num_frames,
        num_packets=folder.num_frames,
        promised_frames=folder.num_frames,
        duration_seconds=folder.num_frames / folder.frame_rate,
        frame_rate=folder.frame_rate,
        codec=folder.files[0].suffix.lower().lstrip("."),
        frames_between_keys=1.0,
    )


def count_damaged(path: Path) -> int:
    """Decode everything; return how many packets cannot be decoded, plus how many pictures are marked as damaged.

    Raises:
        VideoError: a picture of a folder cannot be read.
    """
    if is_frame_folder(path):
        folder = FrameFolder(path)
        for _ in folder.pictures(np.arange(folder.num_frames)):
            pass
        return 0
    undecodable: list[None] = []
    container, stream = open_stream(path)
    with container:
        frames = decode_all(container, stream, on_damage=lambda: undecodable.append(None))
        return sum(frame.is_corrupt for frame in frames) + len(undecodable)
