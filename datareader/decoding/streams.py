"""Opens a file with FFmpeg and chooses the stream that a player shows. Whatever reads a video opens it here."""

from collections.abc import Callable, Iterator
from pathlib import Path

import av
from av.stream import Disposition

from utils.errors import VideoError

_PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails


def open_stream(path: Path) -> tuple[av.container.InputContainer, av.VideoStream]:
    """Open a file and return it with its video stream. Decoding uses one thread: the reader has a process per core.

    Raises:
        VideoError: FFmpeg cannot open it, there is no video in it, or no decoder for the video.
    """
    try:
        container = av.open(str(path.absolute()), metadata_errors="replace")
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise VideoError(f"{path}: not a video that FFmpeg can open ({reason})") from error
    try:
        stream = shown_stream(container, path)
    except VideoError:
        container.close()
        raise
    stream.thread_type = "NONE"
    return container, stream


def decode_all(
    container: av.container.InputContainer, stream: av.VideoStream, *, on_damage: Callable[[], None] = lambda: None
) -> Iterator[av.VideoFrame]:
    """Yield every frame of a newly opened file. Damaged packets are passed over, as a player does.

    Args:
        on_damage: called for every packet that cannot be decoded.
    """
    packets = container.demux(stream)
    while True:
        packet = None
        try:
            packet = next(packets, None)
            if packet is None:
                return
            frames = packet.decode()
        except av.error.EOFError:
            return
        except av.FFmpegError:
            on_damage()
            if packet is None:
                return
            continue
        yield from frames


def shown_stream(container: av.container.InputContainer, name: Path | str) -> av.VideoStream:
    """Return the video stream that a player shows: the default one, among several or without one the largest.

    Pictures that are attached to a file (a cover, thumbnails) are streams too, and never it.

    Raises:
        VideoError: there is none, or no decoder for it.
    """
    streams = [stream for stream in container.streams.video if not stream.disposition & _PICTURES]
    if not streams:
        only = " but an attached picture" if container.streams.video else ""
        raise VideoError(f"{name}: the file has no video stream{only}")
    decodable = [stream for stream in streams if stream.codec_context is not None]
    if not decodable:
        raise VideoError(f"{name}: FFmpeg has no decoder for its video stream")

    def rank(stream: av.VideoStream) -> tuple[bool, int]:
        return bool(stream.disposition & Disposition.default), stream.width * stream.height

    return max(decodable, key=rank)  # the first of equals
