"""The Python interface: name the action in videos.

    from engine.predictor import Predictor

    predictor = Predictor.load("configs/nonlocal.txt", weights="checkpoints/best")
    for answer in predictor.predict(["a.mp4", "b.mp4"], top_k=3):
        print(answer.path, answer.error or list(zip(answer.names, answer.probabilities)))

A predictor changes two things outside itself, which Paddle has once for the whole process: the device and the number of
threads. Several predictors can be loaded at the same time and used in turns or from several threads.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np

from configs.loading import load_config
from configs.schema import InferSection
from datareader.building import build_loader, build_test_plan, videos_at_once
from datareader.dataset import ClipDataset
from datareader.decoding.parts import segment_of
from datareader.epoch_order import listed_order
from datareader.filelist import FileList
from datareader.held_videos import videos_of
from datareader.loader import Batch
from datareader.processes.job import SampleRequest
from datareader.processes.per_video import for_each_video
from datareader.views import ViewPlan
from datareader.windows import WindowDataset, windows_of_video
from engine.auto_config import AUTO, config_of_weights
from engine.class_names import class_names_for_scoring
from engine.distributed import ALONE, LONG_WAIT_SECONDS, Processes
from engine.scoring.calibration import calibration_of
from engine.scoring.ready_network import ready_on_this_device
from engine.scoring.runtimes import Precision
from engine.scoring.video_scores import ScoredBatch, score_views
from engine.scoring.view_scorer import ViewScorer, arithmetic_of
from engine.scoring.views_at_once import ViewsAtOnce
from metrics.multi_view import combine_views
from metrics.topk import answers, top_classes
from models.registry import NETWORKS
from utils.errors import ConfigError
from utils.prefetching import prefetch
from utils.temporary_folder import temporary_folder

_SHORTEST_WINDOW = 0.01  # seconds
FeatureViews = Literal["mean", "all"]  # the mean over the views of a video, or those of each view


@dataclass(frozen=True)
class Prediction:
    """The k best classes of a video, or of a window of it, best first; or the reason why there are none.

    Where videos have several labels, `labels` are the classes whose probability reaches the threshold, best first.
    """

    index: int  # of the video among those named, or of the window among all windows
    path: str  # as named
    classes: tuple[int, ...] = ()
    probabilities: tuple[float, ...] = ()  # means over the views, in [0, 1]
    names: tuple[str, ...] = ()  # of the classes; 'class 17' if no names are known
    start_seconds: float | None = None  # of the window; None: the whole video
    end_seconds: float | None = None
    labels: tuple[int, ...] | None = None  # None: a video has one label
    error: str = ""  # why the video could not be read
    # What the classifier sees, if it was asked for: float32 (C,), the mean over the views, or (V, C), all views.
    features: np.ndarray | None = field(default=None, compare=False, repr=False)


class Predictor:
    """Predicts the classes of videos.

    Args:
        scorer: what computes the probabilities of views.
        section: INFER: the views of each video, and how they are read. With `num_reader_threads` 0 a thread of this
            process reads them; the calling program then needs no ``if __name__ == "__main__"``.
        class_names: names by class index; empty if they are not known.
        multi_label: a video has a label for every probability of INFER.threshold or more. Without it and with two
            classes, the second is the best one from this probability on.
    """

    def __init__(
        self, scorer: ViewScorer, section: InferSection, *, class_names: Sequence[str] = (), multi_label: bool = False
    ) -> None:
        self.multi_label = multi_label
        self._scorer = scorer
        self._section = section
        self._views_at_once = ViewsAtOnce(section.batch_size)
        self._class_names = class_names

    @property
    def plan(self) -> ViewPlan:
        """Which views of a video are taken."""
        return build_test_plan(self._section)

    @property
    def ensemble(self) -> str:
        """How the probabilities of views become those of a video."""
        return self._section.ensemble

    @property
    def threshold(self) -> float:
        """Probability from which on a video has one of several labels, or is of the second of two classes."""
        return self._section.threshold

    @property
    def precision(self) -> str:
        """Of the arithmetic: fp32, or another one and the engine that it belongs to."""
        return arithmetic_of(self._scorer)

    @property
    def reader_processes(self) -> int:
        """How many processes read videos; 0: a thread of this one does."""
        return self._section.num_reader_threads

    @property
    def decode_timeout(self) -> float:
        """Seconds for which a video may give nothing."""
        return self._section.decode_timeout

    @classmethod
    def load(
        cls,
        config: str | Path,
        weights: str | None = None,
        *,
        overrides: Iterable[str] = (),
        engine: str = "auto",
        precision: Precision | Literal["auto"] = "fp32",
        calibrate: str | None = None,
        reader_processes: int = 0,
    ) -> "Predictor":
        """Build a predictor as infer.py does.

        Args:
            config: config file, or 'auto': that of the network that the weights are of. INFER says which views are
                taken, INFER.kinetics_labels names the classes.
            weights: what --weights takes. None: the released network, which is downloaded.
            overrides: 'SECTION.key=value' each.
            engine, precision: see `open_scorer`.
            calibrate: list or folder of videos for int8 and 'auto'; 'auto' does without int8 if it is not given.
            reader_processes: 0: videos are read in a thread. One that hangs is an error of its video after
                INFER.decode_timeout seconds, but only a process can be ended: the thread is left behind.

        Raises:
            VideoToolkitError: one line that says what is wrong and what to do.
        """
        overrides = [*overrides, f"INFER.num_reader_threads={reader_processes}"]
        if config == AUTO and weights:
            loaded = config_of_weights(weights, overrides)
        else:
            loaded = load_config(config, overrides, networks=NETWORKS)
        names = class_names_for_scoring(loaded, weights)
        calibration = calibration_of(calibrate, loaded.INFER, None)
        ready = ready_on_this_device(
            loaded, loaded.INFER, weights, engine=engine, precision=precision, calibration=calibration
        )
        return cls(ready.scorer, loaded.INFER, class_names=names, multi_label=loaded.MODEL.multi_label)

    def predict(
        self,
        videos: Any,
        *,
        top_k: int = 5,
        window: float | None = None,
        stride: float | None = None,
        frame_rate: float = 25.0,
        features: FeatureViews | None = None,
    ) -> Iterator[Prediction]:
        """Yield a prediction for each video, in order. For a video that cannot be read, `error` is set.

        The views of several videos may go through the network together. With windows, the videos that cannot be cut
        come first.

        Args:
            videos: one or several of: the path of a file or of a folder (all videos in it); frames, uint8
                (T, H, W, 3), RGB, as an array or tensor; a list of pictures; the bytes of a video file, or such a file
                open for reading: see `videos_of`. Or a `FileList`. What has no path is called ``video 0`` by its
                position.
            top_k: number of classes in each prediction.
            window: seconds. Each video is cut into windows of this length, and each window is predicted like a video.
            stride: seconds from the start of one window to the next; by default the length of a window.
            frame_rate: frames a second of videos that are given as frames.
            features: give each prediction its features too.

        Raises:
            FileListError: something given is no video, or a folder holds none.
            ConfigError: `window` or `stride` is not a positive number of seconds.
        """
        if top_k < 1:
            raise ConfigError(f"top_k ({top_k}) must be at least 1")
        with temporary_folder() as folder:
            listed = videos_of(videos, folder=folder, frame_rate=frame_rate)
            dataset, unread = self.samples(listed, window=window, stride=stride)
            requests = list(listed_order(len(dataset)))
            for item in chain(unread, self.predict_samples(dataset, requests, top_k=top_k, features=features)):
                yield replace(item, error=item.error.replace(f"{folder / 'video_'}", "video "))

    def features(
        self,
        videos: Any,
        *,
        views: FeatureViews = "mean",
        window: float | None = None,
        stride: float | None = None,
        frame_rate: float = 25.0,
    ) -> Iterator[Prediction]:
        """Yield for each video, or window, in order, a prediction whose `features` is what the classifier sees.

        Args:
            views: 'mean' gives (C,), the mean over the views; 'all' gives (V, C).
            videos, window, stride, frame_rate: as for `predict`, which says what is raised too.
        """
        return self.predict(videos, top_k=1, window=window, stride=stride, frame_rate=frame_rate, features=views)

    def samples(
        self, videos: FileList, *, window: float | None, stride: float | None, processes: Processes = ALONE
    ) -> tuple[ClipDataset, list[Prediction]]:
        """Return a data set of the videos, or of windows of them, and the videos that cannot be cut into windows.

        Several processes divide the cutting; all of them return the same.

        Raises:
            ConfigError: a length is not positive; or the processes were given different videos.
        """
        if stride is not None and window is None:
            raise ConfigError("stride says how far window moves: give both")
        for name, seconds in (("window", window), ("stride", stride)):
            if seconds is not None and not _SHORTEST_WINDOW <= seconds < float("inf"):
                raise ConfigError(f"{name} ({seconds}) must be at least {_SHORTEST_WINDOW} seconds")
        if len(set(processes.gather(videos.sha256()))) > 1:
            raise ConfigError("the processes of the run found different videos")
        if window is None:
            return ClipDataset(videos, self.plan), []
        if segments := [
            listed
            for listed in videos.paths
            if isinstance(path := videos.locate_or_guess(listed), Path) and segment_of(path)
        ]:
            raise ConfigError(
                f"{segments[0]} is a segment of a video: window cuts whole videos; name the video, or no window"
            )
        work = partial(windows_of_video, window=window, stride=window if stride is None else stride)
        outcomes = for_each_video(
            videos,
            work,
            range(processes.rank, len(videos), processes.count),
            num_workers=self._section.num_reader_threads,
            timeout_seconds=self._section.decode_timeout,
            limit_name="decode_timeout",
            limit_per_step=True,
        )
        gathered = processes.gather(list(outcomes), wait_seconds=LONG_WAIT_SECONDS)
        outcomes = sorted((outcome for part in gathered for outcome in part), key=lambda outcome: outcome.index)
        paths, windows, unread = [], [], []
        for outcome in outcomes:
            if outcome.value is None:
                unread.append(Prediction(outcome.index, outcome.path, error=outcome.reason))
            else:
                paths += [outcome.path] * len(outcome.value)
                windows += outcome.value
        return WindowDataset(videos.unlabelled(paths), windows, self.plan), unread

    def predict_samples(
        self,
        dataset: ClipDataset,
        requests: Sequence[SampleRequest],
        *,
        top_k: int,
        features: FeatureViews | None = None,
        track: Callable[[Iterable[Batch]], Iterable[Batch]] = iter,
    ) -> Iterator[Prediction]:
        """Yield the predictions of some samples of `dataset`, in the order of the requests.

        Args:
            top_k, features: as for `predict`.
            track: wraps the batches, and shows the progress.
        """
        windows = dataset.windows if isinstance(dataset, WindowDataset) else None
        with (
            build_loader(dataset, self._section, batch_size=videos_at_once(self._section)) as loader,
            contextlib.ExitStack() as opened,
        ):
            if isinstance(dataset, WindowDataset):
                opened.callback(dataset.close)
            batches = loader.batches(requests)
            if not self._section.num_reader_threads:  # its thread must end before the file it reads is closed
                batches = opened.enter_context(contextlib.closing(prefetch(batches)))
            for scored in score_views(
                self._scorer, track(batches), views_at_once=self._views_at_once, with_features=features is not None
            ):
                found = self._predictions(scored, top_k, features)
                found += [Prediction(bad.index, bad.path, error=bad.reason) for bad in scored.batch.bad_videos]
                for item in sorted(found, key=lambda item: item.index):
                    if windows is None:
                        yield item
                    else:
                        start, end = windows[item.index][:2]
                        yield replace(item, start_seconds=start, end_seconds=end)

    def _predictions(self, scored: ScoredBatch, top_k: int, features: FeatureViews | None) -> list[Prediction]:
        found = []
        for position, (index, path) in enumerate(zip(scored.batch.indices.tolist(), scored.batch.paths, strict=True)):
            row = combine_views(
                scored.probabilities[position], self._section.ensemble, one_label=not self.multi_label
            )  # (K,)
            classes = tuple(top_classes(row, len(row)).tolist())
            if not self.multi_label:
                answer = int(answers(row[None], self._section.threshold)[0])
                classes = (answer, *(class_ for class_ in classes if class_ != answer))
            classes = classes[:top_k]
            names = tuple(self._class_names[class_] if self._class_names else f"class {class_}" for class_ in classes)
            labels = None
            if self.multi_label:
                labels = tuple(top_classes(row, int((row >= self._section.threshold).sum())).tolist())
            probabilities = tuple(float(row[class_]) for class_ in classes)
            item = Prediction(index, path, classes, probabilities, names, labels=labels)
            if scored.features is not None:
                of_views = scored.features[position]  # (V, C)
                mean = of_views.mean(axis=0, dtype="float64").astype("float32")
                item = replace(item, features=mean if features == "mean" else of_views)
            found.append(item)
        return found
