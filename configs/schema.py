"""Every setting that all networks share: one frozen dataclass per section, one documented field per key.

A network may add keys to MODEL and sections of its own: it names a subclass of `Config` in `models/registry.py`.
The defaults are the values of the released run, so a file names only what it changes. A field says its unit, its range
and whether it may change when a run is continued; rules that join several keys stand in `configs.checks`.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from configs.fields import Section, setting

Sampling = Literal["dense", "segments"]
TemporalSampling = Literal["wrap", "linspace"]
Spatial = Literal["crops", "full"]
Schedule = Literal["step", "cosine"]
Ensemble = Literal["sum", "max"]
MixedPrecisionLevel = Literal["off", "O1", "O2"]

Values = dict[str, dict[str, Any]]  # section -> key -> value


def is_override(place: str) -> bool:
    """Whether a value was given by an override: its place is ``override '...'`` then, and ``file:line`` otherwise."""
    return place.startswith(("override '", 'override "'))


@dataclass(frozen=True, kw_only=True)
class ModelSection(Section):
    """The network."""

    name: str = setting("", "network name in the registry, in any case; the first one there if it is not named")
    num_classes: int = setting(400, "number of classes", at_least=1, at_most=1_000_000)
    multi_label: bool = setting(
        False, "a video may have several classes, or none: each gets a probability of its own, by a sigmoid"
    )
    image_mean: float | tuple[float, ...] = setting(
        114.75, "subtracted from RGB values (0 to 255); one number, or three"
    )
    image_std: float | tuple[float, ...] = setting(
        57.375, "what RGB values are divided by then; one number, or three", above=0
    )
    dataset: str = setting("kinetics400", "name of the data set, for the log only", may_change=True)
    pretrain: str = setting("", "weights to start training from; 'none' = random; --pretrain wins", may_change=True)


@dataclass(frozen=True, kw_only=True)
class ReaderSection(Section):
    """Keys that TRAIN, VALID, TEST and INFER share."""

    retired_keys: ClassVar = {"decoder": ("av", "all videos are read by av (PyAV), which shows each as a player does")}

    filelist: str = setting("", "file list, 'path label' a line", may_change=True)
    data_root: str = setting("", "folder that relative paths of the list start from", may_change=True)
    num_reader_threads: int = setting(
        8, "reader processes, at most one per core; 0 = in the main process", at_least=0, may_change=True
    )
    decode_timeout: float = setting(
        120.0,
        "seconds a reader process may work on one video before it is replaced",
        above=0,
        at_most=86400,
        may_change=True,
    )
    stall_seconds: float = setting(
        60.0,
        "a wait for the reader of this long is reported, with what each process does",
        above=0,
        at_most=86400,
        may_change=True,
    )
    batch_size: int = setting(
        64, "TRAIN, VALID: clips over all devices; TEST, INFER: views per process", at_least=1, may_change=True
    )
    crop_size: int = setting(224, "height and width of a network input, pixels", at_least=1, at_most=8192)
    sample_rate: int = setting(8, "source frames from one frame of a clip to the next", at_least=1)
    sample_fps: float = setting(
        0.0, "frames of a clip a second, by the times of the frames, in place of sample_rate; 0 = off", at_least=0
    )
    sampling: Sampling = setting(
        "dense",
        "dense: clips as sample_rate or sample_fps says; segments: a frame of each of video_length equal parts of the "
        "video",
    )
    video_length: int = setting(8, "frames in a clip", at_least=1, at_most=8192)
    jitter_scales: tuple[int, ...] = setting((256, 320), "smallest and largest short side, pixels")


@dataclass(frozen=True, kw_only=True)
class TrainSection(ReaderSection):
    """Training clips, optimiser and schedule."""

    counts_for = frozenset({"training"})

    filelist: str = setting("./dataset/nonlocal/trainlist.txt", "file list, 'path label' a line", may_change=True)
    batch_size: int = setting(64, "clips over all devices", at_least=1)
    crop_size: int = setting(
        224, "height and width of a network input, pixels", at_least=1, at_most=8192, shapes_network=True
    )
    video_length: int = setting(8, "frames in a clip", at_least=1, at_most=8192, shapes_network=True)
    num_gpus: int = setting(8, "old key, not used: the launcher decides", may_change=True)
    mirror: bool = setting(True, "mirror half of the clips left to right")
    resized_crop_area: float = setting(
        0.0,
        "smallest share of the frame in a random-resized crop, in place of random short sides; 0 = off",
        at_least=0,
        at_most=1,
    )
    color_jitter: float = setting(
        0.0, "brightness, contrast and saturation change by up to this share; 0 = off", at_least=0, at_most=10
    )
    rand_augment_ops: int = setting(0, "operations of RandAugment for each clip; 0 = off", at_least=0, at_most=14)
    rand_augment_magnitude: float = setting(9.0, "strength of these operations", at_least=0, at_most=10)
    erasing_probability: float = setting(0.0, "probability that a box of a clip is erased", at_least=0, at_most=1)
    mixup_alpha: float = setting(
        0.0, "pairs of clips are mixed by shares from Beta(alpha, alpha), for example 0.2; 0 = off", at_least=0
    )
    cutmix_alpha: float = setting(
        0.0, "a box of each clip comes from another one, its area from Beta(alpha, alpha); 0 = off", at_least=0
    )
    seed: int = setting(0, "all randomness of the run follows from it", at_least=0)
    max_bad_fraction: float = setting(
        0.05, "the run stops when more of the list than this cannot be read", at_least=0, may_change=True
    )
    save_interval: int = setting(
        0, "iterations from one save inside an epoch to the next; 0 = at its end only", at_least=0, may_change=True
    )
    save_minutes: float = setting(
        0.0, "minutes from one save to the next, inside an epoch; 0 = at its end only", at_least=0, may_change=True
    )
    keep_last: int = setting(
        0, "newest saves of whole epochs to keep, besides best; 0 = all", at_least=0, may_change=True
    )
    balanced_sampling: bool = setting(False, "draw every class equally often, for lists where some are rare")
    dropout_rate: float = setting(0.5, "dropout before the classifier", at_least=0, below=1)
    label_smoothing: float = setting(0.0, "share of the target that is spread over all classes", at_least=0, below=1)
    class_weights: Literal["none", "balanced"] = setting(
        "none", "balanced: a clip counts the more in the loss, the fewer videos of the list are of its class"
    )
    pos_weight: Literal["none", "balanced"] = setting(
        "none", "balanced: the loss of a class where it is present counts absent / present times (MODEL.multi_label)"
    )
    learning_rate: float = setting(0.01, "learning rate after the warm-up", above=0)
    scale_lr: bool = setting(False, "learning rates are meant for a batch of 64 and multiplied by batch_size / 64")
    schedule: Schedule = setting("step", "step: by step_sizes; cosine: to 0 at the end of the run")
    learning_rate_decay: float = setting(0.1, "factor at the end of each step", at_least=0)
    step_sizes: tuple[int, ...] = setting((150000, 150000, 100000), "length of each step, iterations")
    warmup_iters: int = setting(
        0, "iterations over which the rate grows from warmup_start_lr to the schedule's", at_least=0
    )
    warmup_start_lr: float = setting(0.0, "learning rate of the first iteration of a warm-up", at_least=0)
    max_iter: int = setting(400000, "iterations after which the run ends", at_least=1, may_change=True)
    epoch: int = setting(
        120, "epochs after which the run ends, if max_iter does not come first", at_least=1, may_change=True
    )
    weight_decay: float = setting(1.0e-4, "L2 decay of convolutions, classifier and their biases", at_least=0)
    weight_decay_bn: float = setting(0.0, "L2 decay of BN scales and offsets", at_least=0)
    momentum: float = setting(0.9, "momentum", at_least=0, below=1)
    nesterov: bool = setting(True, "Nesterov momentum")
    scale_momentum: bool = setting(
        True, "old key, not used: Paddle keeps the rate outside the momentum buffer", may_change=True
    )
    clip_gradient_norm: float = setting(
        0.0, "gradients are scaled down to this norm where theirs is larger; 0 = never", at_least=0
    )
    head_lr_factor: float = setting(1.0, "multiplies the learning rate of the classifier", at_least=0)
    nonlocal_lr_factor: float = setting(1.0, "multiplies the learning rate of the non-local blocks", at_least=0)
    ema_decay: float = setting(
        0.0,
        "validated and saved is a moving average of the weights, of which each update keeps this share, for example "
        "0.9999; 0 = off",
        at_least=0,
        below=1,
    )
    early_stop: int = setting(
        0, "the run ends after so many epochs without a better validation; 0 = never", at_least=0, may_change=True
    )
    freeze_stages: int = setting(
        0, "first stages of the network that are not trained, counted from the input; 0 = all are trained", at_least=0
    )
    freeze_bn: bool = setting(False, "BN uses its running statistics and leaves them; scales and offsets still train")
    sync_bn: bool = setting(False, "BN statistics over the batch of all GPUs; there is none for CPUs")
    precise_bn_iters: int = setting(
        0,
        "batches to measure BN statistics on before each validation; 0 = running ones",
        at_least=0,
        may_change=True,
    )
    accumulate_steps: int = setting(
        1, "parts that a batch is computed in, one after the other, to save memory", at_least=1
    )
    recompute: bool = setting(
        False, "compute activations again in the backward pass, to save memory; same results", may_change=True
    )
    amp: MixedPrecisionLevel = setting("off", "mixed precision of Paddle, level O1 or O2, on GPUs only")
    amp_dtype: Literal["float16", "bfloat16"] = setting("float16", "float16 comes with loss scaling")
    on_nonfinite: Literal["stop", "skip"] = setting(
        "stop", "what follows a loss or gradient that is not finite", may_change=True
    )


@dataclass(frozen=True, kw_only=True)
class ValidSection(ReaderSection):
    """Validation during training: middle clip, centre crop, short side jitter_scales[0]."""

    counts_for = frozenset({"training"})

    filelist: str = setting("./dataset/nonlocal/vallist.txt", "file list, 'path label' a line", may_change=True)


@dataclass(frozen=True, kw_only=True)
class MultiViewSection(ReaderSection):
    """Keys that TEST and INFER share: many views of each video."""

    counts_for = frozenset({"test"})

    crop_size: int = setting(256, "height and width of a view, pixels", at_least=1, at_most=8192)
    jitter_scales: tuple[int, ...] = setting((256, 256), "the first is the short side of a view, pixels")
    num_test_clips: int = setting(30, "views per video: clips x crops", at_least=1, at_most=10000)
    use_multi_crop: Literal[0, 1, 2, 3] = setting(
        1, "0 centre crop, 1 three crops, 2 three and mirrored, 3 corners, centre and mirrored (ten)"
    )
    temporal_sampling: TemporalSampling = setting(
        "wrap",
        "wrap: clips start at every n-th part of the video, as released; linspace: evenly from the first frame to the "
        "last possible start",
    )
    ensemble: Ensemble = setting(
        "sum", "how the probabilities of the views become those of a video: their mean, or the largest of each class"
    )
    threshold: float = setting(
        0.5,
        "probability from which on a video has a class (MODEL.multi_label), or is of the second of two classes",
        above=0,
        below=1,
        may_change=True,
    )
    spatial: Spatial = setting(
        "crops",
        "crops: as use_multi_crop says; full: the whole frame at once in place of them, crop_size is not used",
    )

    @property
    def num_crops(self) -> int:
        """Spatial crops per clip, mirrored ones included."""
        return {0: 1, 1: 3, 2: 6, 3: 10}[self.use_multi_crop]

    @property
    def num_clips(self) -> int:
        """Clips per video, each seen in `num_crops` crops."""
        return self.num_test_clips // self.num_crops

    @property
    def num_views(self) -> int:
        """Views per video: of each clip its crops, or the whole frame (and its mirror image, if crops would be)."""
        if self.spatial == "crops":
            return self.num_test_clips
        return self.num_clips * (2 if self.sees_mirror_images else 1)

    @property
    def sees_mirror_images(self) -> bool:
        """Whether each crop, or whole frame, is seen in the mirror too."""
        return self.use_multi_crop >= 2

    @property
    def view_size(self) -> tuple[int, int, int]:
        """(T, H, W) of a view; the smallest one where whole frames differ in size."""
        side = self.crop_size if self.spatial == "crops" else self.jitter_scales[0]
        return self.video_length, side, side


@dataclass(frozen=True, kw_only=True)
class TestSection(MultiViewSection):
    """The 10 x 3 test."""

    filelist: str = setting(
        "dataset/nonlocal/testlist.txt", "'path label' lines, or the old 30 lines a video", may_change=True
    )
    filename_gt: str = setting(
        "dataset/nonlocal/vallist.txt", "labels by video index, for old test lists", may_change=True
    )
    checkpoint_dir: str = setting("./output", "folder for results", may_change=True)
    batch_size: int = setting(
        4,
        "views that go through the network at once; 0 = as many as are fastest, by measurement",
        at_least=0,
        may_change=True,
    )
    dataset_size: int = setting(
        19761,
        "old key: the list decides; a disagreement is reported; 0 = not stated",
        at_least=0,
        may_change=True,
    )


@dataclass(frozen=True, kw_only=True)
class InferSection(MultiViewSection):
    """Inference on videos without labels."""

    counts_for = frozenset()

    filelist: str = setting("./dataset/nonlocal/inferlist.txt", "one path a line")
    checkpoint_dir: str = setting("./output", "old key, not used: --save_dir says where the results go")
    batch_size: int = setting(
        1, "views that go through the network at once; 0 = as many as are fastest, by measurement", at_least=0
    )
    num_reader_threads: int = setting(1, "reader processes, at most one per core; 0 = in the main process", at_least=0)
    video_path: str = setting("", "one video, instead of the list")
    kinetics_labels: str = setting(
        "./dataset/kinetics_labels.json", "class names: JSON, CSV or text; see docs/inference.md"
    )


@dataclass(frozen=True, kw_only=True)
class Config:
    """A whole run. The network of a run may be described by a subclass, with sections of its own."""

    MODEL: ModelSection = ModelSection()
    TRAIN: TrainSection = TrainSection()
    VALID: ValidSection = ValidSection()
    TEST: TestSection = TestSection()
    INFER: InferSection = InferSection()

    @classmethod
    def sections(cls) -> dict[str, type[Section]]:
        """The sections by name."""
        return {field.name: field.type for field in dataclasses.fields(cls)}

    @classmethod
    def settle_old_keys(cls, values: Values, places: Mapping[str, str]) -> None:
        """Translate old keys among the values that were given, in place, before the sections are built.

        Args:
            places: where each ``SECTION.key`` was given.

        Raises:
            ConfigError: they contradict one another.
        """

    def network_violations(self) -> Iterator[tuple[str, str]]:
        """Yield (``SECTION.key``, message) for every rule of this network that the config breaks."""
        return iter(())
