"""Rules that join a value with its range or with other keys. Checked before anything heavy is imported."""

from collections.abc import Iterator

from configs.schema import Config, MultiViewSection, ReaderSection, TrainSection

_ARCHITECTURES = {1: ("C2D", 50), 2: ("I3D", 50), 3: ("C2D", 101), 4: ("I3D", 101)}
_CLIP_SECTIONS = ("TRAIN", "VALID", "TEST", "INFER")

_AT_LEAST = {
    "MODEL": {"num_classes": 1, "bn_momentum": 0, "fc_init_std": 0},
    "RESNETS": {"num_groups": 1, "width_per_group": 1},
    "NONLOCAL": {"layer_mod": 1, "chunk_size": 0, "conv_init_std": 0, "bn_momentum": 0},
    "TRAIN": {
        "seed": 0,
        "max_bad_fraction": 0,
        "learning_rate_decay": 0,
        "max_iter": 1,
        "epoch": 1,
        "weight_decay": 0,
        "weight_decay_bn": 0,
        "dropout_rate": 0,
        "momentum": 0,
        "save_interval": 0,
        "save_minutes": 0,
        "keep_last": 0,
        "label_smoothing": 0,
        "warmup_iters": 0,
        "warmup_start_lr": 0,
        "clip_gradient_norm": 0,
        "head_lr_factor": 0,
        "nonlocal_lr_factor": 0,
        "freeze_stages": 0,
        "precise_bn_iters": 0,
        "accumulate_steps": 1,
    },
    "TEST": {"num_test_clips": 1},
    "INFER": {"num_test_clips": 1},
}
_ABOVE_ZERO = {
    "MODEL": ("image_std", "bn_epsilon", "width_mult"),
    "NONLOCAL": ("bn_epsilon",),
    "TRAIN": ("learning_rate",),
}
_MOST_VIEWS = 10000  # of a video; all of them are in memory at once
_BELOW_ONE = {
    "TRAIN": ("dropout_rate", "momentum", "label_smoothing"),
    "MODEL": ("bn_momentum",),
    "NONLOCAL": ("bn_momentum",),
}


def violations(config: Config) -> Iterator[tuple[str, str]]:
    """Yield (``SECTION.key``, message) for every rule that `config` breaks, simplest rules first."""
    yield from _range_violations(config)
    yield from _model_violations(config)
    yield from _train_violations(config.TRAIN)
    for name in _CLIP_SECTIONS:
        yield from _clip_violations(name, getattr(config, name), config)


def _range_violations(config: Config) -> Iterator[tuple[str, str]]:
    for section, minima in _AT_LEAST.items():
        for key, minimum in minima.items():
            value = getattr(getattr(config, section), key)
            if not value >= minimum:
                yield f"{section}.{key}", f"{key} ({value}) must be at least {minimum}"
    for section, keys in _ABOVE_ZERO.items():
        for key in keys:
            value = getattr(getattr(config, section), key)
            if not value > 0:
                yield f"{section}.{key}", f"{key} ({value}) must be greater than 0"
    for section, keys in _BELOW_ONE.items():
        for key in keys:
            value = getattr(getattr(config, section), key)
            if not value < 1:
                yield f"{section}.{key}", f"{key} ({value}) must be less than 1"


def _model_violations(config: Config) -> Iterator[tuple[str, str]]:
    model, nonlocal_ = config.MODEL, config.NONLOCAL
    if model.video_arc_choice not in _ARCHITECTURES:
        yield "MODEL.video_arc_choice", f"video_arc_choice ({model.video_arc_choice}) must be 1, 2, 3 or 4"
    elif _ARCHITECTURES[model.video_arc_choice][1] != model.depth:
        family, depth = _ARCHITECTURES[model.video_arc_choice]
        yield (
            "MODEL.depth",
            f"depth ({model.depth}) contradicts video_arc_choice ({model.video_arc_choice}), "
            f"which is {family} with depth {depth}",
        )
    if model.stem_temporal_stride not in (1, 2):
        yield "MODEL.stem_temporal_stride", f"stem_temporal_stride ({model.stem_temporal_stride}) must be 1 or 2"
    if model.pool1_padding not in (0, 1):
        yield "MODEL.pool1_padding", f"pool1_padding ({model.pool1_padding}) must be 0 or 1"
    if nonlocal_.use_bn and nonlocal_.use_affine:
        yield "NONLOCAL.use_affine", "use_affine and use_bn cannot both be True"


def _train_violations(train: TrainSection) -> Iterator[tuple[str, str]]:
    if not train.step_sizes or min(train.step_sizes) < 1:
        yield "TRAIN.step_sizes", f"step_sizes ({list(train.step_sizes)}) must be positive iteration counts"
    if train.freeze_stages > 5:
        yield "TRAIN.freeze_stages", f"freeze_stages ({train.freeze_stages}) must be at most 5: conv1, res2 to res5"
    if train.batch_size % train.accumulate_steps:
        yield (
            "TRAIN.accumulate_steps",
            f"accumulate_steps ({train.accumulate_steps}) must divide TRAIN.batch_size ({train.batch_size})",
        )
    if train.freeze_bn and train.precise_bn_iters:
        yield "TRAIN.precise_bn_iters", "precise_bn_iters must be 0 where freeze_bn keeps the statistics as they are"


def _clip_violations(name: str, section: ReaderSection, config: Config) -> Iterator[tuple[str, str]]:
    def broken(key: str, rule: str) -> tuple[str, str]:
        return f"{name}.{key}", f"{key} ({getattr(section, key)}) {rule}"

    for key in ("batch_size", "sample_rate", "video_length", "crop_size"):
        if getattr(section, key) < 1:
            yield broken(key, "must be at least 1")
    if section.num_reader_threads < 0:
        yield broken("num_reader_threads", "must be at least 0")
    for key in ("decode_timeout", "stall_seconds"):
        if not 0 < getattr(section, key) <= 86400:
            yield broken(key, "must be greater than 0 seconds and at most a day")
    yield from _length_violations(name, section.video_length, config)
    if section.crop_size % 32:
        yield broken("crop_size", "must be a multiple of 32: the network halves it five times")
    if len(section.jitter_scales) != 2 or not 0 < section.jitter_scales[0] <= section.jitter_scales[1]:
        yield broken("jitter_scales", "must be two sizes, the smaller first")
    elif section.crop_size > section.jitter_scales[0]:
        yield broken("crop_size", f"must not exceed the short side, jitter_scales[0] ({section.jitter_scales[0]})")
    for key in ("crop_size", "video_length"):
        if getattr(section, key) < getattr(config.TRAIN, key):
            yield broken(
                key, f"must not be less than TRAIN.{key} ({getattr(config.TRAIN, key)}): the head pools over it"
            )
    if isinstance(section, MultiViewSection) and section.num_test_clips > _MOST_VIEWS:
        yield broken("num_test_clips", f"must be at most {_MOST_VIEWS}")
    if isinstance(section, MultiViewSection) and section.num_test_clips % section.num_crops:
        yield broken(
            "num_test_clips",
            f"must be divisible by the {section.num_crops} crops of use_multi_crop={section.use_multi_crop}",
        )


def _length_violations(name: str, video_length: int, config: Config) -> Iterator[tuple[str, str]]:
    """A clip must divide into what the stem, pool2 and the groups of res3 join."""
    step, because = 2, "pool2 joins frames in pairs"
    if config.MODEL.stem_temporal_stride == 2:
        step, because = 8, "with MODEL.stem_temporal_stride=2 the frames are halved three times"
    if config.MODEL.use_affine:
        step, because = 4 * step, "with MODEL.use_affine res3 groups its frames by 4"
    if video_length % step:
        yield f"{name}.video_length", f"video_length ({video_length}) must be {_multiple(step)}: {because}"


def _multiple(step: int) -> str:
    return "even" if step == 2 else f"a multiple of {step}"
