"""Every setting of a run: one frozen dataclass per section, one documented field per key.

The defaults are the values of the released NONLOCAL run, so a file names only what it changes. Rules that
join several keys stand in `configs.checks`.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

Decoder = Literal["av", "decord", "opencv"]
TemporalSampling = Literal["wrap", "linspace"]
Spatial = Literal["crops", "full"]
Pairwise = Literal["embedded_gaussian", "gaussian", "dot_product", "concatenation"]


def setting(default: Any, doc: str) -> Any:
    """A field with its default and its one-line documentation (unit included)."""
    return dataclasses.field(default=default, metadata={"doc": doc})


@dataclass(frozen=True, kw_only=True)
class ModelSection:
    """The network apart from its residual and non-local blocks."""

    name: str = setting("NONLOCAL", "network name in the registry, in any case")
    num_classes: int = setting(400, "number of classes")
    image_mean: float = setting(114.75, "subtracted from every RGB value (0 to 255)")
    image_std: float = setting(57.375, "divides every RGB value after the mean is subtracted")
    depth: int = setting(50, "50 or 101; must agree with video_arc_choice")
    dataset: str = setting("kinetics400", "name of the data set, for the log only")
    video_arc_choice: int = setting(1, "1 C2D R50, 2 I3D R50, 3 C2D R101, 4 I3D R101")
    use_affine: bool = setting(False, "backbone BN replaced by scale and offset; res3 non-local in groups")
    train_affine: bool = setting(False, "train the affine scales and offsets instead of freezing them")
    fc_init_std: float = setting(0.01, "standard deviation of the classifier's initial weights")
    bn_momentum: float = setting(0.9, "running = momentum * running + (1 - momentum) * batch")
    bn_epsilon: float = setting(1.0e-5, "added to the variance")
    bn_init_gamma: float = setting(0.0, "initial BN scale at the end of each residual branch")
    width_mult: float = setting(1.0, "scales all channel counts, for quick runs")
    stem_temporal_stride: int = setting(1, "2: conv1 and pool1 halve the frames too (the paper's own 32x2 and 128x1)")
    pool1_padding: int = setting(0, "0, or 1 for networks that came from PyTorch")
    pretrain: str = setting("", "weights to start training from; 'none' = random; --pretrain wins")


@dataclass(frozen=True, kw_only=True)
class ResnetsSection:
    """The residual blocks."""

    num_groups: int = setting(1, "groups of the 3x3 convolutions")
    width_per_group: int = setting(64, "inner channels per group in res2")
    trans_func: Literal["bottleneck_transformation_3d"] = setting(
        "bottleneck_transformation_3d", "kind of residual branch"
    )


@dataclass(frozen=True, kw_only=True)
class NonlocalSection:
    """The non-local blocks."""

    pairwise: Pairwise = setting("embedded_gaussian", "pairwise function f of the paper, section 3.2")
    use_softmax: bool = setting(True, "old key: False means pairwise='dot_product'")
    bn_momentum: float = setting(0.9, "as in MODEL")
    bn_epsilon: float = setting(1.0e-5, "as in MODEL")
    bn_init_gamma: float = setting(0.0, "initial BN scale at the end of each non-local block")
    layer_mod: int = setting(2, "a non-local block after every layer_mod-th residual block")
    conv3_nonlocal: bool = setting(True, "non-local blocks in res3")
    conv4_nonlocal: bool = setting(True, "non-local blocks in res4")
    conv_init_std: float = setting(0.01, "standard deviation of the initial convolution weights")
    no_bias: bool = setting(False, "convolutions without bias (0 or 1 in old files)")
    use_maxpool: bool = setting(True, "g and phi see the input max-pooled 1x2x2")
    use_scale: bool = setting(True, "multiply the affinity by d^-0.5 (Gaussian forms)")
    use_zero_init_conv: bool = setting(False, "the last convolution starts at 0")
    chunk_size: int = setting(0, "query positions computed at once, to bound memory; 0 = all; same result")
    use_bn: bool = setting(True, "BN after the last convolution")
    use_affine: bool = setting(False, "scale and offset after the last convolution, instead of BN")


@dataclass(frozen=True, kw_only=True)
class ReaderSection:
    """Keys that TRAIN, VALID, TEST and INFER share."""

    filelist: str = setting("", "file list, 'path label' a line")
    data_root: str = setting("", "folder that relative paths of the list start from")
    decoder: Decoder = setting("av", "video decoder")
    num_reader_threads: int = setting(8, "reader processes, at most one per core; 0 = in the main process")
    decode_timeout: float = setting(120.0, "seconds a reader process may work on one video before it is replaced")
    stall_seconds: float = setting(60.0, "a wait for the reader of this long is reported, with what each process does")
    batch_size: int = setting(64, "TRAIN, VALID: clips over all devices; TEST, INFER: views per process")
    crop_size: int = setting(224, "height and width of a network input, pixels")
    sample_rate: int = setting(8, "source frames from one frame of a clip to the next")
    video_length: int = setting(8, "frames in a clip")
    jitter_scales: tuple[int, ...] = setting((256, 320), "smallest and largest short side, pixels")


@dataclass(frozen=True, kw_only=True)
class TrainSection(ReaderSection):
    """Training clips, optimiser and schedule."""

    filelist: str = setting("./dataset/nonlocal/trainlist.txt", "file list, 'path label' a line")
    num_gpus: int = setting(8, "old key, not used: the launcher decides")
    mirror: bool = setting(True, "mirror half of the clips left to right")
    seed: int = setting(0, "all randomness of the run follows from it")
    max_bad_fraction: float = setting(0.05, "the run stops when more of the list than this cannot be read")
    save_interval: int = setting(0, "iterations from one save inside an epoch to the next; 0 = at its end only")
    save_minutes: float = setting(0.0, "minutes from one save to the next, inside an epoch; 0 = at its end only")
    keep_last: int = setting(0, "newest saves of whole epochs to keep, besides best; 0 = all")
    balanced_sampling: bool = setting(False, "draw every class equally often, for lists where some are rare")
    dropout_rate: float = setting(0.5, "dropout before the classifier")
    label_smoothing: float = setting(0.0, "share of the target that is spread over all classes, in [0, 1)")
    learning_rate: float = setting(0.01, "learning rate after the warm-up")
    scale_lr: bool = setting(False, "learning rates are meant for a batch of 64 and multiplied by batch_size / 64")
    schedule: Literal["step", "cosine"] = setting("step", "step: by step_sizes; cosine: to 0 at the end of the run")
    learning_rate_decay: float = setting(0.1, "factor at the end of each step")
    step_sizes: tuple[int, ...] = setting((150000, 150000, 100000), "length of each step, iterations")
    warmup_iters: int = setting(0, "iterations over which the rate grows from warmup_start_lr to the schedule's")
    warmup_start_lr: float = setting(0.0, "learning rate of the first iteration of a warm-up")
    max_iter: int = setting(400000, "iterations after which the run ends")
    epoch: int = setting(120, "epochs after which the run ends, if max_iter does not come first")
    weight_decay: float = setting(1.0e-4, "L2 decay of convolutions, classifier and their biases")
    weight_decay_bn: float = setting(0.0, "L2 decay of BN scales and offsets")
    momentum: float = setting(0.9, "momentum")
    nesterov: bool = setting(True, "Nesterov momentum")
    scale_momentum: bool = setting(True, "old key, not used: Paddle keeps the rate outside the momentum buffer")
    clip_gradient_norm: float = setting(0.0, "gradients are scaled down to this norm where theirs is larger; 0 = never")
    head_lr_factor: float = setting(1.0, "multiplies the learning rate of the classifier")
    nonlocal_lr_factor: float = setting(1.0, "multiplies the learning rate of the non-local blocks")
    freeze_stages: int = setting(0, "1: conv1 is not trained; 2 to 5: nothing up to that stage is; 0 = all are")
    freeze_bn: bool = setting(False, "BN uses its running statistics and leaves them; scales and offsets still train")
    sync_bn: bool = setting(False, "BN statistics over the batch of all GPUs; there is none for CPUs")
    precise_bn_iters: int = setting(0, "batches to measure BN statistics on before each validation; 0 = running ones")
    accumulate_steps: int = setting(1, "parts that a batch is computed in, one after the other, to save memory")
    recompute: bool = setting(False, "compute activations again in the backward pass, to save memory; same results")
    amp: Literal["off", "O1", "O2"] = setting("off", "mixed precision of Paddle, level O1 or O2, on GPUs only")
    amp_dtype: Literal["float16", "bfloat16"] = setting("float16", "float16 comes with loss scaling")
    on_nonfinite: Literal["stop", "skip"] = setting("stop", "what follows a loss or gradient that is not finite")


@dataclass(frozen=True, kw_only=True)
class ValidSection(ReaderSection):
    """Validation during training: middle clip, centre crop, short side jitter_scales[0]."""

    filelist: str = setting("./dataset/nonlocal/vallist.txt", "file list, 'path label' a line")


@dataclass(frozen=True, kw_only=True)
class MultiViewSection(ReaderSection):
    """Keys that TEST and INFER share: many views of each video."""

    crop_size: int = setting(256, "height and width of a view, pixels")
    jitter_scales: tuple[int, ...] = setting((256, 256), "the first is the short side of a view, pixels")
    checkpoint_dir: str = setting("./output", "folder for results")
    num_test_clips: int = setting(30, "views per video: clips x crops")
    use_multi_crop: Literal[0, 1, 2] = setting(1, "0 centre crop, 1 three crops, 2 three and mirrored")
    temporal_sampling: TemporalSampling = setting(
        "wrap",
        "wrap: clips start at every n-th part of the video, as released; linspace, first to last that fits",
    )

    spatial: Spatial = setting(
        "crops",
        "crops: as use_multi_crop says; full: the whole frame at once in place of them, crop_size is not used",
    )

    @property
    def num_crops(self) -> int:
        """Spatial crops per clip, mirrored ones included."""
        return {0: 1, 1: 3, 2: 6}[self.use_multi_crop]

    @property
    def num_clips(self) -> int:
        """Clips per video, each seen in `num_crops` crops."""
        return self.num_test_clips // self.num_crops

    @property
    def num_views(self) -> int:
        """Views per video: of each clip its crops, or the whole frame (and its mirror image, if crops would be)."""
        if self.spatial == "crops":
            return self.num_test_clips
        return self.num_clips * (2 if self.use_multi_crop == 2 else 1)


@dataclass(frozen=True, kw_only=True)
class TestSection(MultiViewSection):
    """The 10 x 3 test."""

    filelist: str = setting("dataset/nonlocal/testlist.txt", "'path label' lines, or the old 30 lines a video")
    filename_gt: str = setting("dataset/nonlocal/vallist.txt", "labels by video index, for old test lists")
    batch_size: int = setting(4, "views that go through the network at once")
    dataset_size: int = setting(19761, "old key: the list decides; a disagreement is reported; 0 = not stated")


@dataclass(frozen=True, kw_only=True)
class InferSection(MultiViewSection):
    """Inference on videos without labels."""

    filelist: str = setting("./dataset/nonlocal/inferlist.txt", "one path a line")
    batch_size: int = setting(1, "views that go through the network at once")
    num_reader_threads: int = setting(1, "reader processes, at most one per core; 0 = in the main process")
    video_path: str = setting("", "one video, instead of the list")
    kinetics_labels: str = setting("./dataset/kinetics_labels.json", "class names, JSON list or dictionary")


@dataclass(frozen=True, kw_only=True)
class Config:
    """A whole run."""

    MODEL: ModelSection = ModelSection()
    RESNETS: ResnetsSection = ResnetsSection()
    NONLOCAL: NonlocalSection = NonlocalSection()
    TRAIN: TrainSection = TrainSection()
    VALID: ValidSection = ValidSection()
    TEST: TestSection = TestSection()
    INFER: InferSection = InferSection()


SECTIONS: dict[str, type] = {field.name: field.type for field in dataclasses.fields(Config)}
