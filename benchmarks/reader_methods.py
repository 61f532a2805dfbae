"""Ways to get the frames of a clip out of a file, to be measured side by side.

Every method is a function (path, choose) to uint8 frames (K, H, W, 3): `choose(num_frames)` gives the frame indices of
all clips, int64 (V, T), and K are the unique ones among them, in the order of time.
"""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from datareader.decoder_av import AvDecoder
from datareader.video_decoder import decode_frames

Choose = Callable[[int], np.ndarray]


def this_reader(backend: str) -> Callable[[Path, Choose], np.ndarray]:
    """This project's decoding with one of its backends."""
    return lambda path, choose: decode_frames(path, backend, choose)[0]


def opencv_whole_file(path: Path, choose: Choose) -> np.ndarray:
    """As the old code did: OpenCV, every frame decoded and converted, then the wanted ones taken."""
    import cv2

    capture = cv2.VideoCapture(str(path))
    frames = []
    while True:
        there, frame = capture.read()
        if not there:
            break
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    capture.release()
    return np.stack([frames[i] for i in np.unique(choose(len(frames)))])


def decord_get_batch(path: Path, choose: Choose) -> np.ndarray:
    """decord as most code bases call it: the container's frame count believed, `get_batch`."""
    import decord

    video = decord.VideoReader(str(path), num_threads=1)
    return video.get_batch(np.unique(choose(len(video)))).asnumpy()


def pyav_seek_and_decode(path: Path, choose: Choose) -> np.ndarray:
    """PyAV without tricks: seek to the key frame before the first wanted frame, decode all frames to the last."""
    import av

    with av.open(str(path), metadata_errors="replace") as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        num_frames = stream.frames or AvDecoder(path).num_frames
        wanted = np.unique(choose(num_frames))
        rate, start = stream.average_rate, stream.start_time or 0
        times = start + np.round(wanted / float(rate * stream.time_base)).astype(int)
        container.seek(int(times[0]), stream=stream, backward=True)
        found = []
        for frame in container.decode(stream):
            # Half a frame of tolerance: constant rates only, which the clips of the benchmark have.
            if frame.pts >= times[len(found)] - 0.5 / float(rate * stream.time_base):
                found.append(frame.to_ndarray(format="rgb24"))
                if len(found) == len(times):
                    break
        return np.stack(found)


def torchcodec_frames(path: Path, choose: Choose) -> np.ndarray:
    """torchcodec in its approximate seek mode, the fast one."""
    from torchcodec.decoders import VideoDecoder

    video = VideoDecoder(str(path), seek_mode="approximate", num_ffmpeg_threads=1, dimension_order="NHWC")
    return video.get_frames_at(np.unique(choose(len(video))).tolist()).data.numpy()


class Floor:
    """What no reader on libavcodec can beat: the packets that must be decoded, and nothing else.

    Which packets these are is found beforehand, from this project's reader; reading the file, converting and
    everything else is left out of the time.
    """

    def __init__(self) -> None:
        self._packets: dict[tuple[Path, bytes], tuple[list, set[int]]] = {}

    def seconds(self, path: Path, choose: Choose) -> float:
        """Time to decode the packets of the clips."""
        import av

        with av.open(str(path), metadata_errors="replace") as container:
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            packets, wanted = self._needed(path, container, stream, choose)
            context = stream.codec_context
            left = len(wanted)
            started = time.perf_counter()
            for packet in packets:
                context.skip_frame = "DEFAULT" if packet.pts in wanted else "NONREF"
                left -= sum(frame.pts in wanted for frame in context.decode(packet))
                if not left:
                    break
            else:
                context.decode(None)
            return time.perf_counter() - started

    @staticmethod
    def _needed(path: Path, container, stream, choose: Choose) -> tuple[list, set[int]]:
        decoder = AvDecoder(path)
        indices = np.unique(choose(decoder.num_frames))
        if decoder._times is None:  # a container whose times are not believed: all packets up to the last
            decoder.close()
            return [packet for packet in container.demux(stream) if packet.size], set()
        wanted = {int(decoder._times[i]) for i in indices}
        container.seek(decoder._key_time_before(min(wanted)), stream=stream, backward=True)
        packets = []
        for packet in container.demux(stream):
            if packet.size:
                packets.append(packet)
        decoder.close()
        return packets, wanted
