"""Config sections to data sets and loaders."""

from configs.schema import Config, MultiViewSection, ReaderSection
from datareader.dataset import ClipDataset
from datareader.filelist import FileList, read_labelled_list, read_path_list, read_test_list, single_video
from datareader.loader import ClipLoader
from datareader.views import MiddleView, MultiView, RandomView


def build_train_dataset(config: Config) -> ClipDataset:
    """Data set of TRAIN: one random view a video, bad videos replaced."""
    section = config.TRAIN
    plan = RandomView(
        video_length=section.video_length,
        sample_rate=section.sample_rate,
        crop_size=section.crop_size,
        short_sides=(section.jitter_scales[0], section.jitter_scales[1]),
        mirror=section.mirror,
    )
    return ClipDataset(
        _labelled_videos(config, section), plan, decoder=section.decoder, seed=section.seed, replace_bad=True
    )


def build_valid_dataset(config: Config) -> ClipDataset:
    """Data set of VALID: the middle view of each video."""
    section = config.VALID
    plan = MiddleView(
        video_length=section.video_length,
        sample_rate=section.sample_rate,
        crop_size=section.crop_size,
        short_side=section.jitter_scales[0],
    )
    return ClipDataset(_labelled_videos(config, section), plan, decoder=section.decoder)


def build_test_dataset(config: Config) -> ClipDataset:
    """Data set of TEST: clips x crops of each video."""
    section = config.TEST
    videos = read_test_list(
        section.filelist,
        num_classes=config.MODEL.num_classes,
        labels_file=section.filename_gt,
        data_root=section.data_root,
    )
    return _multi_view_dataset(videos, section)


def build_infer_dataset(config: Config) -> ClipDataset:
    """Data set of INFER: clips x crops of `video_path` if set, else of each video of the list."""
    section = config.INFER
    if section.video_path:
        videos = single_video(section.video_path)
    else:
        videos = read_path_list(section.filelist, data_root=section.data_root)
    return _multi_view_dataset(videos, section)


def build_loader(dataset: ClipDataset, section: ReaderSection, *, batch_size: int) -> ClipLoader:
    """Loader of `batch_size` videos at a time with the section's reader processes."""
    return ClipLoader(
        dataset,
        batch_size=batch_size,
        num_workers=section.num_reader_threads,
        timeout_seconds=section.decode_timeout,
        stall_seconds=section.stall_seconds,
    )


def _labelled_videos(config: Config, section: ReaderSection) -> FileList:
    return read_labelled_list(section.filelist, num_classes=config.MODEL.num_classes, data_root=section.data_root)


def _multi_view_dataset(videos: FileList, section: MultiViewSection) -> ClipDataset:
    plan = MultiView(
        video_length=section.video_length,
        sample_rate=section.sample_rate,
        crop_size=section.crop_size,
        short_side=section.jitter_scales[0],
        num_clips=section.num_clips,
        num_crops=section.num_crops,
        temporal_sampling=section.temporal_sampling,
    )
    return ClipDataset(videos, plan, decoder=section.decoder)
