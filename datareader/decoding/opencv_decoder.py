"""OpenCV as a decoder. It decodes every frame up to the last wanted one."""

from pathlib import Path

import cv2
import numpy as np

from datareader.decoding.av_decoder import AvDecoder
from datareader.decoding.interface import FrameCountError
from utils.errors import VideoError


class OpenCVDecoder:
    """A video opened with OpenCV. See `VideoDecoder` for the interface."""

    def __init__(self, path: Path) -> None:
        # OpenCV knows only the count that the container states; ours is that of a full decode.
        counter = AvDecoder(path)
        self.num_frames = counter.num_frames
        counter.close()
        self._path = path

    def get_frames(self, indices: np.ndarray) -> np.ndarray:
        capture = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        try:
            if not capture.isOpened():
                raise VideoError(f"{self._path}: not a video that OpenCV can open")
            capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)  # off by default in OpenCV 4.11, on in others
            wanted, found = set(indices.tolist()), []
            for number in range(int(indices[-1]) + 1):
                if not capture.grab():
                    return self._fewer_frames(number)
                if number in wanted:
                    found.append(cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB))
        finally:
            capture.release()
        return np.stack(found)

    def close(self) -> None:
        """Nothing is held between calls."""

    def _fewer_frames(self, num_frames: int) -> np.ndarray:
        if num_frames == 0:
            raise VideoError(f"{self._path}: no frame can be decoded")
        self.num_frames = num_frames
        raise FrameCountError
