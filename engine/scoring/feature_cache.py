"""Features of videos, computed once: kept on disk by the content of the videos, the network and its views.

Legend: V views, C features.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datareader.decoding.parts import segment_of, whole_of
from datareader.epoch_order import listed_order
from datareader.filelist import FileList
from datareader.loader import number_of_videos
from engine.progress import track
from engine.scoring.predictor import Predictor
from utils.atomic_file import atomic_write
from utils.hashing import sha256
from utils.logging import get_logger


class CachedFeatures(NamedTuple):
    """The features of the videos of a list, in its order."""

    features: list[np.ndarray | None]  # float32 (V, C); None where a video cannot be read
    contents: list[str]  # of the whole file or folder, the same under whatever names; empty where it cannot be read
    num_computed: int  # how many were computed now


class FeatureCache:
    """Features of all views of videos. A video that is read twice, under whatever name, is computed once.

    Args:
        folder: for a file ``<network>/<video>.npy``, float32 (V, C), of each video.
        network_sha256: of the weights and settings of the network that `predictor` uses.
    """

    def __init__(self, folder: Path, predictor: Predictor, network_sha256: str) -> None:
        self._predictor = predictor
        told = f"{network_sha256} {predictor.plan!r} {predictor.precision}"
        self._folder = folder / hashlib.sha256(told.encode()).hexdigest()[:16]
        self._known: dict[Path, str] = {}  # files and folders, and the SHA-256 of what is in them

    def features_of(self, videos: FileList, *, log_interval: int) -> CachedFeatures:
        """Return the features of each video.

        Each is on disk as soon as it is known: a run that is stopped goes on where it was.
        """
        located = [self._file_of(videos, listed) for listed in videos.paths]
        files = [file for file, _ in located]
        found = {file: _loaded(file) for file in files if file is not None}
        missing = {file: index for index, file in reversed(list(enumerate(files))) if file and found[file] is None}
        computed = 0
        for index, features in self._computed(videos, sorted(missing.values()), log_interval=log_interval):
            file = files[index]
            with atomic_write(file) as handle:
                np.save(handle, features)
            found[file] = features
            computed += 1
        return CachedFeatures(
            [found[file] if file else None for file in files], [whole for _, whole in located], computed
        )

    def _file_of(self, videos: FileList, listed: str) -> tuple[Path | None, str]:
        """The file for the features of a video, None if it cannot be read; and the SHA-256 of the whole of it."""
        path = videos.locate_or_guess(listed)
        try:
            content = content_sha256(path, self._known)
            return self._folder / f"{content}.npy", self._known[whole_of(path)]
        except OSError as error:
            get_logger().warning("cannot be read: %s (%s)", listed, error.strerror or error)
            return None, ""

    def _computed(self, videos: FileList, indices: list[int], *, log_interval: int) -> Iterator[tuple[int, np.ndarray]]:
        part = videos.unlabelled([videos.paths[i] for i in indices])
        if not indices:
            return
        dataset, _ = self._predictor.samples(part, window=None, stride=None)

        def shown(batches):
            return track(batches, total=len(part), unit="video", log_interval=log_interval, size=number_of_videos)

        requests = list(listed_order(len(part)))
        for item in self._predictor.predict_samples(dataset, requests, top_k=1, features="all", track=shown):
            if item.error:
                get_logger().warning("cannot be read: %s", item.error)
            elif item.features is not None:
                yield indices[item.index], item.features


def content_sha256(path: Path, known: dict[Path, str]) -> str:
    """Return the SHA-256 of a video's content: of a file, or of the names and contents of a folder of pictures.

    Args:
        known: files and folders that were read before; of one many parts may be listed.

    Raises:
        OSError: it cannot be read.
    """
    whole = whole_of(path)
    if whole not in known:
        known[whole] = _sha256_of_pictures(whole) if whole.is_dir() else sha256(whole)
    if whole == path and not whole.is_dir():
        return known[whole]
    segment = segment_of(path)  # which seconds of the file, or which pictures of the folder
    part = (
        str(path)[len(str(whole)) :] if segment is None else f"#t={segment[1].start_seconds},{segment[1].end_seconds}"
    )
    return hashlib.sha256(f"{part} {known[whole]}".encode("utf-8", "surrogateescape")).hexdigest()


def _sha256_of_pictures(folder: Path) -> str:
    lines = [f"{file.name} {sha256(file)}\n" for file in sorted(folder.iterdir()) if file.is_file()]
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _loaded(file: Path) -> np.ndarray | None:
    """The features in a file, None if there is none, or none that is whole."""
    try:
        features = np.load(file, allow_pickle=False)
    except Exception:  # noqa: BLE001 - of a damaged header NumPy raises what its parser does
        return None
    is_whole = isinstance(features, np.ndarray) and features.dtype == np.float32 and np.isfinite(features).all()
    return features if is_whole else None
