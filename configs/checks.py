"""Rules that hold for every network: the range of each key, and what joins keys. Checked before heavy imports."""

import dataclasses
from collections.abc import Iterator

from configs.schema import Config, MultiViewSection, ReaderSection, TrainSection

_LARGEST_FRAME = 8192  # pixels


def violations(config: Config) -> Iterator[tuple[str, str]]:
    """Yield (``SECTION.key``, message) for every rule that `config` breaks, simplest rules first."""
    yield from _range_violations(config)
    yield from _train_violations(config.TRAIN)
    yield from _label_violations(config)
    for key in ("image_mean", "image_std"):
        value = getattr(config.MODEL, key)
        if isinstance(value, tuple) and len(value) != 3:
            yield f"MODEL.{key}", f"{key} must be one number, or three: red, green, blue"
    if not config.TEST.checkpoint_dir.strip():
        yield "TEST.checkpoint_dir", "checkpoint_dir is empty: name a folder for the results"
    for name in ("TRAIN", "VALID", "TEST", "INFER"):
        yield from _clip_violations(name, getattr(config, name))
    yield from config.network_violations()


def remarks(config: Config) -> Iterator[str]:
    """Yield a line for everything in `config` that is allowed, and may not be meant."""
    for name in ("TRAIN", "VALID", "TEST", "INFER"):
        section = getattr(config, name)
        if section.sample_rate != ReaderSection().sample_rate and (section.sample_fps or section.sampling != "dense"):
            other = "sample_fps" if section.sample_fps else "sampling"
            yield f"{name}.sample_rate ({section.sample_rate}) is not used: {other} says which frames are taken"
    for key in ("sample_rate", "sample_fps", "sampling", "video_length"):
        trained = getattr(config.TRAIN, key)
        others = {name: getattr(getattr(config, name), key) for name in ("VALID", "TEST", "INFER")}
        if different := {name: value for name, value in others.items() if value != trained}:
            stated = ", ".join(f"{name}.{key} = {value}" for name, value in different.items())
            yield f"TRAIN.{key} is {trained}, but {stated}: the network is tested on other clips than it is trained on"


def _range_violations(config: Config) -> Iterator[tuple[str, str]]:
    for name in config.sections():
        section = getattr(config, name)
        for field in dataclasses.fields(section):
            value = getattr(section, field.name)
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, int | float) and (rule := field.metadata["range"].broken_rule(number)):
                    yield f"{name}.{field.name}", f"{field.name} ({number}) {rule}"


def _train_violations(train: TrainSection) -> Iterator[tuple[str, str]]:
    if not train.step_sizes or min(train.step_sizes) < 1:
        yield "TRAIN.step_sizes", f"step_sizes ({list(train.step_sizes)}) must be positive iteration counts"
    if train.batch_size % train.accumulate_steps:
        yield (
            "TRAIN.accumulate_steps",
            f"accumulate_steps ({train.accumulate_steps}) must divide TRAIN.batch_size ({train.batch_size})",
        )
    if train.ema_decay and train.precise_bn_iters:
        yield "TRAIN.ema_decay", "ema_decay must be 0 where precise_bn_iters measures statistics of the last weights"
    if train.ema_decay and train.amp == "O2":
        yield "TRAIN.ema_decay", "ema_decay must be 0 where amp=O2 keeps the weights in half precision"
    if train.freeze_bn and train.precise_bn_iters:
        yield "TRAIN.precise_bn_iters", "precise_bn_iters must be 0 where freeze_bn keeps the statistics as they are"


def _label_violations(config: Config) -> Iterator[tuple[str, str]]:
    train = config.TRAIN
    if config.MODEL.multi_label and train.label_smoothing:
        yield (
            "TRAIN.label_smoothing",
            f"label_smoothing ({train.label_smoothing}) must be 0 where MODEL.multi_label is on",
        )
    if config.MODEL.multi_label and train.class_weights != "none":
        yield "TRAIN.class_weights", f"class_weights ({train.class_weights}) is for one label a video; see pos_weight"
    if train.pos_weight != "none" and not config.MODEL.multi_label:
        yield "TRAIN.pos_weight", f"pos_weight ({train.pos_weight}) is for MODEL.multi_label, which is off"


def _clip_violations(name: str, section: ReaderSection) -> Iterator[tuple[str, str]]:
    def broken(key: str, rule: str) -> tuple[str, str]:
        return f"{name}.{key}", f"{key} ({getattr(section, key)}) {rule}"

    if section.sampling == "segments" and section.sample_fps:
        yield broken("sample_fps", "must be 0 where sampling=segments takes frames from the whole video")
    if len(section.jitter_scales) != 2 or not 0 < section.jitter_scales[0] <= section.jitter_scales[1]:
        yield broken("jitter_scales", "must be two sizes, the smaller first")
    elif section.jitter_scales[1] > _LARGEST_FRAME:
        yield broken("jitter_scales", f"must be at most {_LARGEST_FRAME}")
    elif section.crop_size > section.jitter_scales[0]:
        yield broken("crop_size", f"must not exceed the short side, jitter_scales[0] ({section.jitter_scales[0]})")
    if isinstance(section, MultiViewSection) and section.num_test_clips % section.num_crops:
        yield broken(
            "num_test_clips",
            f"must be divisible by the {section.num_crops} crops of use_multi_crop={section.use_multi_crop}",
        )
