"""From sections of a config to data sets and loaders."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from configs.checks import remarks
from configs.schema import Config, InferSection, MultiViewSection, ReaderSection
from datareader.augmentation import Augmentation
from datareader.dataset import ClipDataset
from datareader.filelist import FileList, named_videos
from datareader.list_reading import read_any_list, read_labelled_list, read_path_list, read_test_list
from datareader.list_remarks import remarks_on_lists
from datareader.loader import ClipLoader
from datareader.random_view import RandomView
from datareader.views import FullFrameView, MiddleView, MultiView, ViewPlan
from utils.errors import FileListError

_MOST_VIEWS_BY_MEASUREMENT = 16  # at once, where the config names no number


def build_train_dataset(config: Config) -> ClipDataset:
    """Return the data set of TRAIN: one random view of each video; unreadable videos are replaced."""
    section = config.TRAIN
    _require_list("TRAIN", section)
    plan = RandomView(
        video_length=section.video_length,
        sample_rate=section.sample_rate,
        sample_fps=section.sample_fps,
        sampling=section.sampling,
        crop_size=section.crop_size,
        short_sides=(section.jitter_scales[0], section.jitter_scales[1]),
        mirror=section.mirror,
        resized_crop_area=section.resized_crop_area,
        augmentation=Augmentation(
            color_jitter=section.color_jitter,
            rand_augment_ops=section.rand_augment_ops,
            rand_augment_magnitude=section.rand_augment_magnitude,
            erasing_probability=section.erasing_probability,
        ),
    )
    return ClipDataset(_labelled_videos(config, section), plan, seed=section.seed, replace_bad=True)


def build_valid_dataset(config: Config) -> ClipDataset:
    """Return the data set of VALID: the middle view of each video."""
    section = config.VALID
    _require_list("VALID", section, "--valid_interval 0 does without validation, ")
    return ClipDataset(_labelled_videos(config, section), build_middle_plan(section))


def build_middle_plan(section: ReaderSection) -> MiddleView:
    """Return the plan of a single view in the sizes of a section: the middle clip, cropped at the centre."""
    return MiddleView(
        video_length=section.video_length,
        sample_rate=section.sample_rate,
        sample_fps=section.sample_fps,
        sampling=section.sampling,
        crop_size=section.crop_size,
        short_side=section.jitter_scales[0],
    )


def build_test_dataset(config: Config) -> ClipDataset:
    """Return the data set of TEST: clips x crops of each video."""
    section = config.TEST
    _require_list("TEST", section, "--filelist FILE or ")
    videos = read_test_list(
        section.filelist,
        num_classes=config.MODEL.num_classes,
        labels_file=section.filename_gt,
        data_root=section.data_root,
        multi_label=config.MODEL.multi_label,
    )
    return ClipDataset(videos, build_test_plan(section))


def remarks_on_data(config: Config, videos: Mapping[str, FileList]) -> list[str]:
    """Return what may not be meant in the lists of a run and in how they are read.

    Args:
        videos: the lists that are used, by section; the other labelled lists of `config` are read if they are there.
    """
    lists = {}
    for name in ("TRAIN", "VALID", "TEST"):
        section = getattr(config, name)
        if name in videos:
            lists[name] = videos[name]
        elif Path(section.filelist).is_file():
            with contextlib.suppress(FileListError):  # whoever needs this list will hear of it
                lists[name] = read_any_list(section.filelist, data_root=section.data_root)
    return [*remarks(config), *remarks_on_lists(lists, num_classes=config.MODEL.num_classes)]


def infer_videos(section: InferSection, *, named: Sequence[str] = (), results: Path | None = None) -> FileList:
    """Return the videos of INFER: those `named` and `video_path` (files or folders) if there are any, else the list.

    Args:
        results: a folder that results are written to. Where it lies in a named folder, its videos are left out.
    """
    if named or section.video_path:
        return named_videos([*named, section.video_path] if section.video_path else named, results=results)
    if _is_default(section) and not Path(section.filelist).exists():
        raise FileListError("no video is named: name videos or folders, or a list with --filelist")
    return read_path_list(section.filelist, data_root=section.data_root)


def build_loader(dataset: ClipDataset, section: ReaderSection, *, batch_size: int) -> ClipLoader:
    """Return a loader of `batch_size` videos at a time, with the section's reader processes."""
    return ClipLoader(
        dataset,
        batch_size=batch_size,
        num_workers=section.num_reader_threads,
        timeout_seconds=section.decode_timeout,
        stall_seconds=section.stall_seconds,
    )


def _labelled_videos(config: Config, section: ReaderSection) -> FileList:
    return read_labelled_list(
        section.filelist,
        num_classes=config.MODEL.num_classes,
        data_root=section.data_root,
        multi_label=config.MODEL.multi_label,
    )


def build_test_plan(section: MultiViewSection) -> ViewPlan:
    """Return the plan of the views of TEST or INFER."""
    if section.spatial == "full":
        return FullFrameView(
            video_length=section.video_length,
            sample_rate=section.sample_rate,
            sample_fps=section.sample_fps,
            sampling=section.sampling,
            short_side=section.jitter_scales[0],
            num_clips=section.num_clips,
            mirrored=section.sees_mirror_images,
            temporal_sampling=section.temporal_sampling,
        )
    return MultiView(
        video_length=section.video_length,
        sample_rate=section.sample_rate,
        sample_fps=section.sample_fps,
        sampling=section.sampling,
        crop_size=section.crop_size,
        short_side=section.jitter_scales[0],
        num_clips=section.num_clips,
        num_crops=section.num_crops,
        temporal_sampling=section.temporal_sampling,
    )


def videos_at_once(section: MultiViewSection) -> int:
    """Return how many videos are read as one batch, so that their views fill a batch of the network.

    One, if views are whole frames: these differ in size.
    """
    views_at_once = section.batch_size or _MOST_VIEWS_BY_MEASUREMENT
    return 1 if section.spatial == "full" else max(1, views_at_once // section.num_views)


def _is_default(section: ReaderSection) -> bool:
    return Path(section.filelist) == Path(type(section)().filelist)


def _require_list(name: str, section: ReaderSection, flag: str = "") -> None:
    """Say whose list is missing where nobody named one: the default of a section is a file of the released run."""
    if _is_default(section) and not Path(section.filelist).exists():
        raise FileListError(
            f"no list is named, and the default of {name}.filelist, {section.filelist}, is not there: "
            f"{flag}-o {name}.filelist=FILE names one"
        )
