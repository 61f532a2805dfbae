"""Where a stream comes from: what a user names, and how FFmpeg opens it."""

import contextlib
import io
import os
import re
import select
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av

from datareader.decoding.streams import shown_stream
from utils.errors import ConfigError, VideoError

_PROTOCOLS = ("rtsp", "rtsps", "http", "https", "udp", "tcp", "rtmp", "rtmps")
_LOOK_SECONDS = 0.2  # how often a wait looks whether it is to end
_PIPE_BYTES = 1 << 16
_SECRET = re.compile(r"//([^/?#]*|[^/?#:]*:(?!\d+/)[^?#]*)@")  # a password may hold / and @, a port is none


@dataclass(frozen=True)
class StreamSource:
    """A stream as it was named.

    Attributes:
        address: what FFmpeg opens; a path; or '-'.
        kind: a 'camera' and most of a 'network' give what they see at their own pace; a 'pipe' as fast as it is read.
    """

    address: str
    kind: Literal["camera", "network", "pipe"]

    @property
    def shown(self) -> str:
        """Its name for people and results: without user and password."""
        return _SECRET.sub("//", self.address) if self.kind == "network" else self.address

    @property
    def may_come_back(self) -> bool:
        """Whether an end may be a broken connection. A pipe and a file that is fetched by HTTP end for good."""
        return self.kind == "camera" or (self.kind == "network" and not self.address.startswith("http"))

    @property
    def is_paced(self) -> bool:
        """Whether it may come faster than it is to be shown, and is read in its own time."""
        return self.kind == "pipe" or self.address.startswith("http")


def named_source(text: str) -> StreamSource:
    """Return the source that a user names: ``0`` or ``/dev/video0``, an address, a named pipe, or ``-``.

    Raises:
        ConfigError: it is none of these, or a file.
    """
    protocol, colon, _ = text.partition("://")
    if colon:
        if protocol.lower() not in _PROTOCOLS:
            raise ConfigError(f"--stream {protocol}://...: is none of {', '.join(_PROTOCOLS)}")
        return StreamSource(f"{protocol.lower()}://{text[len(protocol) + 3 :]}", "network")
    if text == "-":
        return StreamSource(text, "pipe")
    path = Path(f"/dev/video{text}" if text.isascii() and text.isdecimal() else text)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"--stream {text}: no camera, pipe or address ({getattr(error, 'strerror', None) or error}); it takes "
            "/dev/video0 or 0, rtsp://, http://, udp:// ..., a named pipe, or - for standard input"
        ) from error
    if stat.S_ISCHR(mode):
        return StreamSource(str(path), "camera")
    if stat.S_ISFIFO(mode):
        return StreamSource(str(path), "pipe")
    raise ConfigError(
        f"--stream {text}: is no stream; a file or folder is named without --stream, and --window cuts its videos"
    )


@contextlib.contextmanager
def opened(
    source: StreamSource, *, open_seconds: float, silence_seconds: float, must_end: Callable[[], bool]
) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """Open a stream; give its container and the video that a player shows.

    Args:
        open_seconds: how long opening may take.
        silence_seconds: how long it may give nothing then.
        must_end: asked while a pipe is waited for.

    Raises:
        VideoError, OSError: it cannot be opened, or ends.
    """
    with contextlib.ExitStack() as stack:
        if source.kind == "pipe":
            pipe = _Pipe(source.address, patience_seconds=silence_seconds, must_end=must_end)
            stack.enter_context(contextlib.closing(pipe))
            try:
                container = stack.enter_context(av.open(pipe, metadata_errors="replace"))
            except av.FFmpegError as error:
                if pipe.is_empty:
                    raise VideoError(f"{source.shown}: it ended before anything came") from error
                raise
        else:
            is_camera, is_rtsp = source.kind == "camera", source.address.startswith("rtsp")
            container = stack.enter_context(
                av.open(
                    source.address,
                    format="v4l2" if is_camera else None,
                    options={"rtsp_transport": "tcp"} if is_rtsp else {},
                    timeout=(open_seconds, silence_seconds),
                    metadata_errors="replace",
                )
            )
        stream = shown_stream(container, source.shown)
        stream.thread_type = "NONE"
        yield container, stream


class _Pipe(io.RawIOBase):
    """A named pipe, or standard input, for reading with an end to every wait."""

    def __init__(self, address: str, *, patience_seconds: float, must_end: Callable[[], bool]) -> None:
        self._patience_seconds = patience_seconds
        self._must_end = must_end
        self._file = 0 if address == "-" else os.open(address, os.O_RDONLY | os.O_NONBLOCK)
        self._has_begun = address == "-"  # a named pipe without a writer is at its end
        self.is_empty = True

    def readable(self) -> bool:
        """It is; nothing else can be done with it."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return what is there, at most `size` bytes; nothing at the end.

        Raises:
            TimeoutError: nothing comes.
        """
        deadline = time.monotonic() + self._patience_seconds
        while not self._must_end():
            if select.select([self._file], [], [], _LOOK_SECONDS)[0]:
                with contextlib.suppress(BlockingIOError):
                    content = os.read(self._file, _PIPE_BYTES if size < 0 else min(size, _PIPE_BYTES))
                    if content or self._has_begun:
                        self._has_begun = True
                        self.is_empty = self.is_empty and not content
                        return content
                time.sleep(_LOOK_SECONDS / 10)
            if time.monotonic() > deadline:
                raise TimeoutError(f"nothing came for {self._patience_seconds:g} seconds")
        return b""

    def close(self) -> None:
        """Close a named pipe; standard input stays open."""
        if not self.closed and self._file:
            os.close(self._file)
        super().close()


def reason_of(error: Exception, source: StreamSource) -> str:
    """Return why a stream cannot be read, in a few words."""
    if source.kind == "pipe" and isinstance(error, av.error.InvalidDataError):
        return (
            "no video that can be read in one go; MPEG-TS, Matroska and fragmented mp4 can, an mp4 file with its index "
            "at the end cannot"
        )
    if isinstance(error, av.error.ExitError | TimeoutError):
        return "nothing comes"
    return str(error) if isinstance(error, VideoError) else getattr(error, "strerror", None) or str(error)
