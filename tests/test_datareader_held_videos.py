"""Videos in memory: as if they had been read from files."""

import io

import numpy as np
import paddle
import pytest
from conftest import write_counting_video
from seeded_values import fill

from datareader.held_videos import videos_of
from engine.scoring.predictor import Predictor
from engine.scoring.scorers import DygraphScorer
from models.registry import build_model
from utils.errors import FileListError


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_counting_video(tmp_path_factory.mktemp("held") / "a.mp4", 40, size=(64, 48))


@pytest.fixture(scope="module")
def frames(video):
    """As the decoder of the files gives them."""
    from datareader.decoding.opening import decode_frames

    return decode_frames(video, np.arange)[0]


@pytest.fixture
def predictor(narrow_config):
    config = narrow_config("INFER.num_test_clips=6")
    return Predictor(DygraphScorer(fill(build_model(config))), config.INFER)


class Pillow:
    """What pictures of Pillow offer."""

    def __init__(self, picture):
        self.__array_interface__ = picture.__array_interface__
        self._kept = picture


class OnlyDlpack:
    """A tensor of another library."""

    def __init__(self, array):
        self._array = array
        self.shape = array.shape

    def __dlpack__(self, **options):
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()


def forms(video, frames):
    """The same video in every form."""
    yield "path", video
    yield "text", str(video)
    yield "array", frames
    yield "view of an array", np.repeat(frames, 2, axis=0)[::2]
    yield "list of arrays", list(frames)
    yield "pictures of Pillow", [Pillow(np.ascontiguousarray(frame)) for frame in frames]
    yield "paddle", paddle.to_tensor(frames)
    yield "dlpack", OnlyDlpack(frames)
    yield "bytes", video.read_bytes()
    yield "memoryview", memoryview(video.read_bytes())
    yield "file", io.BytesIO(video.read_bytes())


def test_every_form_gives_the_same_probabilities(video, frames, predictor):
    wanted = next(predictor.predict(video)).probabilities
    for name, form in forms(video, frames):
        (found,) = predictor.predict(form)
        assert found.probabilities == pytest.approx(wanted, abs=1e-6), name
        assert found.path == (str(video) if name in ("path", "text") else "video 0")


def test_several_forms_at_once(video, frames, predictor):
    found = list(predictor.predict([form for _, form in forms(video, frames)]))
    assert [item.index for item in found] == list(range(11))
    assert [item.path for item in found][2:] == [f"video {number}" for number in range(2, 11)]
    assert len({tuple(np.round(item.probabilities, 5)) for item in found}) == 1
    features = list(predictor.features([frames, video], views="all"))
    np.testing.assert_allclose(features[0].features, features[1].features, atol=1e-5)


def test_windows_count_by_the_rate_that_is_given(video, frames, predictor):
    by_file = list(predictor.predict(video, window=0.4))
    by_frames = list(predictor.predict(frames, window=0.4))
    assert [item.start_seconds for item in by_frames] == [item.start_seconds for item in by_file]
    for a, b in zip(by_file, by_frames, strict=True):
        assert a.probabilities == pytest.approx(b.probabilities, abs=1e-6)
    fast = list(predictor.predict(frames, window=0.4, frame_rate=50.0))
    assert [item.end_seconds for item in fast] == pytest.approx([0.4, 0.8])


def test_in_reader_processes_too(video, frames, narrow_config):
    config = narrow_config("INFER.num_test_clips=6", "INFER.num_reader_threads=1")
    predictor = Predictor(DygraphScorer(fill(build_model(config))), config.INFER)
    found = list(predictor.predict([frames, video, video.read_bytes()]))
    assert len({tuple(np.round(item.probabilities, 5)) for item in found}) == 1


def test_a_broken_one_is_an_error_of_its_own(video, predictor):
    good, bad, gone = predictor.predict([video.read_bytes(), b"no video", video.with_name("gone.mp4")])
    assert good.classes and not good.error
    assert bad.path == "video 1"
    assert bad.error.startswith("video 1: ")
    assert "gone.mp4: no such file" in gone.error


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            np.zeros((8, 32, 32, 3), np.float32),
            r"video 0: is float32 \(8, 32, 32, 3\), and must be uint8 \(T, H, W, 3\)",
        ),
        (np.zeros((8, 3, 32, 32), np.uint8), r"video 0: is uint8 \(8, 3, 32, 32\), and must be"),
        (np.zeros((0, 32, 32, 3), np.uint8), r"video 0: is uint8 \(0, 32, 32, 3\), and must be"),
        (np.zeros((2, 4, 32, 32, 3), np.uint8), r"and must be uint8 \(T, H, W, 3\), RGB"),
        ([np.zeros((32, 32), np.uint8)] * 3, r"video 0: is uint8 \(3, 32, 32\), and must be"),
        ([np.zeros((32, 32, 3), np.uint8), np.zeros((16, 32, 3), np.uint8)], "its pictures must have one size"),
        (17, "video 0: a int is no video: give a path, uint8"),
        (None, "video 0: a NoneType is no video"),
        (["a.mp4", 3.5], "video 1: a float is no video"),
        ({"path": "a.mp4"}, "video 0: a dict is no video"),
        (io.StringIO("text"), "video 0: an open file must give bytes; open it with 'rb'"),
        (np.array(["a.mp4"]), "is <U5"),
    ],
)
def test_what_is_no_video_is_told_in_one_line(tmp_path, given, message):
    with pytest.raises(FileListError, match=message) as caught:
        videos_of(given, folder=tmp_path, frame_rate=25.0)
    assert "\n" not in str(caught.value)


def test_nothing_given_is_no_prediction(predictor):
    assert list(predictor.predict([])) == []


def test_frames_are_not_copied(tmp_path, frames):
    videos = videos_of(frames, folder=tmp_path, frame_rate=25.0)
    assert np.shares_memory(videos.locate("video 0").frames, frames)
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_for_the_decoder_does_not_stay(video, predictor, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert next(iter(predictor.predict([video.read_bytes()]))).classes
    assert list(tmp_path.iterdir()) == []
