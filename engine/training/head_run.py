"""A classifier on features: the features of every video once, a linear head fitted to them, a save like any other."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from configs.loading import dump_config, parse_config
from configs.schema import Config, InferSection, TestSection, ValidSection
from datareader.filelist import FileList
from datareader.label_text import classes_present
from datareader.list_reading import classes_of_sets, has_label_sets, read_labelled_list
from engine.checkpoint import RunPosition, write_save
from engine.class_names import class_names_for_training, names_beside, read_class_names
from engine.network_identity import network_sha256, parameters_sha256
from engine.network_loading import new_network
from engine.run_folder import FILES_OF_A_RUN, claimed_folder, open_run_folder
from engine.save_folder import point_to, set_saves_aside
from engine.scoring.feature_cache import FeatureCache
from engine.scoring.predictor import Predictor
from engine.scoring.runtimes import Precision
from engine.scoring.scorers import load_scorer
from engine.training.head_fitting import Examples, Fitted, HeadOptions, examples_of, fit
from metrics.percentages import percent
from models.network import VideoNetwork
from models.registry import NETWORKS
from utils.atomic_file import write_json
from utils.errors import FileListError
from utils.logging import get_logger

RESULT_FILE = "fit_head.json"
_KEYS_OF_VIDEOS = ("filelist", "filename_gt", "dataset_size", "data_root", "checkpoint_dir", "video_path")
_ANY_CLASS = 1 << 31
_MOST_CLASSES, _MOST_GAPS = 1000, 10  # in labels: beyond, they are no class numbers


def run_head_fit(
    config: Config,
    *,
    weights: str,
    train: str,
    valid: str | None,
    out: Path,
    cache: Path | None = None,
    options: HeadOptions,
    engine: str = "auto",
    precision: Precision = "fp32",
    log_interval: int = 10,
) -> list[str]:
    """Fit a new head to the videos of a list, write a save into `out`, and return lines for the screen.

    Args:
        config: of the network that `weights` are of; INFER says which views are taken.
        train, valid: lists; without `valid` the head is judged by cross-validation.
        cache: folder of the features; None: ``features`` in `out`.
        engine, precision: see `open_scorer`.

    Raises:
        VideoToolkitError: a list, the weights or the folder cannot be used; or no video can be read.
    """
    named = {"TRAIN": train} | ({"VALID": valid} if valid else {})
    multi_label = any(map(has_label_sets, named.values()))
    bound = classes_of_sets(named.values()) if multi_label else _ANY_CLASS
    lists = {
        name: read_labelled_list(
            path, num_classes=bound, data_root=getattr(config, name).data_root, multi_label=multi_label
        )
        for name, path in named.items()
    }
    num_classes = _number_of_classes(lists)
    keys = {
        "MODEL.num_classes": num_classes,
        "MODEL.multi_label": multi_label,
        "INFER.kinetics_labels": _names_file(config, num_classes),
    }
    # What the network was tested on is not what this one is to be tested on, and its results stay.
    keys |= {
        f"{section}.{field.name}": field.default or "''"  # an empty name
        for section, type_ in (("VALID", ValidSection), ("TEST", TestSection), ("INFER", InferSection))
        for field in fields(type_)
        if field.name in _KEYS_OF_VIDEOS
    }
    keys |= {f"{name}.filelist": path for name, path in named.items()}
    overrides = [f"{key}={value}" for key, value in keys.items()]
    new_config = parse_config(dump_config(config), "the config", networks=NETWORKS, overrides=overrides)
    class_names = class_names_for_training(new_config)
    network, scorer, source = load_scorer(config, config.INFER, weights, engine=engine, precision=precision)
    with claimed_folder(out):
        seconds = [time.monotonic()]
        features = FeatureCache(
            cache or out / "features",
            Predictor(scorer, config.INFER),
            network_sha256(parameters_sha256(network), config),
        )
        examples = {name: _examples(videos, features, log_interval) for name, videos in lists.items()}
        seconds.append(time.monotonic())
        _warn_of_empty_classes(examples["TRAIN"], num_classes)
        if "VALID" in examples:
            _warn_of_shared_videos(examples["TRAIN"], examples["VALID"])
        found = fit(
            examples["TRAIN"], examples.get("VALID"), num_classes=num_classes, options=options, seed=config.TRAIN.seed
        )
        seconds.append(time.monotonic())
        judged_by = f"of {valid}" if valid else f"of {train}, cross-validated"
        lines, facts = summary(found, judged_by=judged_by)
        facts |= {
            "weights": source, "train": train, "valid": valid, "views": examples["TRAIN"].features.shape[1],
            "class_weights": options.class_weights, "groups": options.groups,
            "seconds": {"features": seconds[1] - seconds[0], "fit": seconds[2] - seconds[1]},
        }  # fmt: skip
        prefix = write_head(out, new_config, network, found, lists["TRAIN"], facts, class_names)
    return [*lines, f"checkpoint      {prefix}; use it with --config {out}/train_config.txt --weights {out}"]


def _number_of_classes(lists: Mapping[str, FileList]) -> int:
    """One more than the largest label, or as many as ``classes.json`` beside the training list names.

    Raises:
        FileListError: a label that is no class number.
    """
    classes = sorted({class_ for videos in lists.values() for class_ in videos.classes})
    if not classes:
        raise FileListError("no video of --train has a label")
    largest, distinct = classes[-1], len(classes)
    if largest >= _MOST_GAPS * distinct + _MOST_CLASSES:
        raise FileListError(f"label {largest} in lists of {distinct} classes: labels must be class numbers from 0 on")
    if classes[0] == 1 and largest == distinct:
        get_logger().warning("the labels of the lists begin at 1: subtract 1 from each, or class 0 stays empty")
    num_named = len(names_beside(lists["TRAIN"].source))
    for videos in lists.values():
        if videos.has_label_sets:
            videos.add_classes(num_named)
    return max(largest + 1, num_named)


def _names_file(config: Config, num_classes: int) -> str:
    """INFER.kinetics_labels, if it names as many classes; it may be of the network's old ones."""
    path, default = config.INFER.kinetics_labels, InferSection().kinetics_labels
    return path if path == default or len(read_class_names(path, num_classes)) == num_classes else default


def _examples(videos: FileList, features: FeatureCache, log_interval: int) -> Examples:
    found = features.features_of(videos, log_interval=log_interval)
    get_logger().info("%s: features of %d videos, %d computed now", videos.source, len(videos), found.num_computed)
    return examples_of(videos, found.features, found.contents)


def _warn_of_shared_videos(train: Examples, valid: Examples) -> None:
    known = set(train.contents)
    if shared := [path for path, content in zip(valid.paths, valid.contents, strict=True) if content in known]:
        get_logger().warning(
            "%d videos of --valid are in --train too, by the content of their files: they say nothing of others: %s",
            len(shared), ", ".join(shared[:3]),
        )  # fmt: skip


def _warn_of_empty_classes(train: Examples, num_classes: int) -> None:
    empty = sorted(set(range(num_classes)) - set(classes_present(train.labels).tolist()))
    if empty:
        get_logger().warning(
            "--train has no video of %d classes, which will never be the answer: %s", len(empty),
            ", ".join(map(str, empty[:5])) + (", ..." if len(empty) > 5 else ""),
        )  # fmt: skip


def write_head(
    out: Path,
    config: Config,
    network: VideoNetwork,
    fitted: Fitted,
    train: FileList,
    facts: dict[str, Any],
    class_names: Sequence[str],
) -> Path:
    """Write a save of the network with the fitted head, as training writes them, and return its prefix.

    Args:
        out: folder of the run, which the caller has claimed; saves of an earlier run in it are set aside.
        config: of the new network: its number of classes, its list.
        network: where all but the head comes from; it may have another number of classes.
        facts: for ``fit_head.json``.
        class_names: by class, if they are known.
    """
    if (aside := set_saves_aside(out, FILES_OF_A_RUN)) is not None:
        get_logger().warning("%s held checkpoints of an earlier run: now in %s", out, aside)
    open_run_folder(out, config, "train")
    own, kept = new_network(config), network.state_dict()
    head = {own.head.pred.weight.name: fitted.head.weight, own.head.pred.bias.name: fitted.head.bias}
    position = RunPosition(epoch=1, iteration=1, best_value=fitted.measures.main.value, best_epoch=0, best_iteration=1)
    prefix = out / f"{config.MODEL.name}_epoch0"
    write_save(
        prefix,
        parameters={
            name: head[value.name] if value.name in head else kept[name].numpy()
            for name, value in own.state_dict().items()
        },
        optimizer={},
        position=position,
        config_text=dump_config(config),
        train_list_sha256=train.names_sha256(),
        class_names=class_names,
    )
    for pointer in ("latest", "best"):
        point_to(out, pointer, prefix.name)
    write_json(out / RESULT_FILE, facts)
    return prefix


def summary(fitted: Fitted, *, judged_by: str) -> tuple[list[str], dict[str, Any]]:
    """Return lines for the screen, and the same for ``fit_head.json``."""
    found, count = fitted.measures.main, fitted.measures.num_scored
    lines = [
        f"penalty         {fitted.penalty:g}" + (f" (of {len(fitted.losses)} tried)" if len(fitted.losses) > 1 else ""),
        found.line(f"95 % interval; {count} videos {judged_by}"),
        f"chance          {percent(fitted.chance)}",
    ]
    facts = {
        "penalty": fitted.penalty,
        "losses": {f"{penalty:g}": loss for penalty, loss in fitted.losses.items()},
        "judged_by": judged_by,
        found.name: found.value,
        f"{found.name}_interval": found.interval,
        "num_videos": count,
    }
    return lines, facts
