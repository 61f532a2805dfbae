"""Files that failed once, where the developers' folder of them is there: right values by other programs."""

import av
import numpy as np
import pytest
from conftest import ROOT

from datareader.decoding.opening import decode_frames, open_video

FOLDER = ROOT.parent / "shared" / "failing" / "videos"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="no folder of files that failed beside the project")


def shown(name):
    """All frames as they are shown."""
    return decode_frames(FOLDER / name, lambda n: np.arange(n))[0]


def stored(name):
    """All frames of the first stream as they are coded."""
    with av.open(str(FOLDER / name)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.mark.parametrize(
    ("name", "shape", "mean"),
    [
        ("cut_with_ss_copy.mp4", (62, 96, 160), None),
        ("cover_art_is_stream_0.mp4", (300, 240, 320), 255),
        ("two_video_tracks.mp4", (20, 120, 160), None),
        ("zero_display_matrix.mp4", (15, 96, 160), None),
        ("no_pts.h264", (30, 96, 160), None),
        ("concat_colliding_times.mp4", (136, 96, 160), None),
        ("intra_refresh_cut.mp4", (22, 240, 320), None),
        ("interlaced_h264.mp4", (12, 96, 160), 109),
    ],
)
def test_frames(name, shape, mean):
    frames = shown(name)
    assert frames.shape[:3] == shape
    if mean is not None:
        assert abs(frames.mean() - mean) < 2
    if name != "cover_art_is_stream_0.mp4":
        np.testing.assert_array_equal(frames, stored(name))
    for index in (0, shape[0] // 2, shape[0] - 1):  # one by one, too
        one, _ = decode_frames(FOLDER / name, lambda n, i=index: np.array([i]))
        np.testing.assert_array_equal(one[0], frames[index])


def test_mirrored():
    np.testing.assert_array_equal(shown("mirror_hflip_matrix.mp4"), stored("mirror_hflip_matrix.mp4")[:, :, ::-1])
    np.testing.assert_array_equal(shown("mirror_vflip_matrix.mp4"), stored("mirror_vflip_matrix.mp4")[:, ::-1])


def test_the_same_packets_in_two_containers():
    for name in ("bframes.mkv", "bframes_same_stream.mp4"):
        video = open_video(FOLDER / name)
        assert video.times is not None, "by seeking"
        video.close()
    np.testing.assert_array_equal(shown("bframes.mkv"), shown("bframes_same_stream.mp4"))
