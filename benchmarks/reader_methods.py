"""Ways to get the frames of a clip out of a file, to be measured side by side.

Every method is a function (path, choose, short_side) to uint8 frames (K, H, W, 3) of this short side:
`choose(num_frames)` gives the frame indices of all clips, int64 (V, T), and K are the unique ones among them, in order
of time.
"""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from datareader.decoding.av_decoder import AvDecoder
from datareader.decoding.frame_times import PacketIndex
from datareader.decoding.opening import decode_frames
from datareader.transforms import resize, resized_size

Choose = Callable[[int], np.ndarray]


Method = Callable[[Path, Choose, int], np.ndarray]


def this_reader(path: Path, choose: Choose, short_side: int) -> np.ndarray:
    """This project's."""
    return decode_frames(path, choose, short_side=short_side)[0]


def then_resized(method: Callable[[Path, Choose], np.ndarray]) -> Method:
    """Resize what a method gives at full size, as this project does."""

    def resized(path: Path, choose: Choose, short_side: int) -> np.ndarray:
        frames = method(path, choose)
        size = resized_size(*frames.shape[1:3], short_side)
        small = np.empty((len(frames), *size, 3), np.uint8)
        for frame, out in zip(frames, small, strict=True):
            resize(frame, out)
        return small

    return resized


def opencv_whole_file(path: Path, choose: Choose) -> np.ndarray:
    """As the old code did: OpenCV, every frame decoded and converted, then the wanted ones taken."""
    import cv2

    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
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

    Which packets these are is found beforehand, by this project's reader; reading the file, converting and everything
    else is left out of the time.
    """

    def seconds(self, path: Path, choose: Choose) -> float:
        """Time to decode the packets of the clips."""
        decoder = AvDecoder(path)
        context = decoder.codec_context
        wanted = {int(decoder.times[i]) for i in np.unique(choose(decoder.num_frames))}
        seconds = 0.0
        for stretch in PacketIndex(decoder.packets).stretches(wanted, worth_a_seek=1):
            packets, left = list(decoder.packets_of(stretch)), len(stretch.times)
            started = time.perf_counter()
            for packet in packets:
                context.skip_frame = "DEFAULT" if packet is None or packet.pts in stretch.times else "NONREF"
                left -= sum(frame.pts in stretch.times for frame in context.decode(packet))
                if not left:
                    break
            seconds += time.perf_counter() - started
        decoder.close()
        return seconds
