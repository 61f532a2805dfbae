"""infer.py --annotate: copies with the classes drawn at the time of their window, and never over something else."""

import errno
import os
import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import matplotlib
import numpy as np
import pytest
from conftest import write_counting_video

from datareader.copying import write_copy
from datareader.decoding.av_decoder import AvDecoder
from datareader.filelist import named_videos
from datareader.mp4_writer import Mp4Writer
from engine.scoring.annotated_copies import make_folder, scenes_of, targets_of, write_annotated
from engine.scoring.caption import draw_caption, drawable_name
from engine.scoring.predictor import Prediction
from utils import fonts
from utils.errors import ConfigError, ReaderError
from utils.fonts import font_for
from utils.pictures import new_figure, picture_text, png_of

NAMES = ("jump", "прыжок", "قفز")
LIMITS = {"num_workers": 0, "timeout_seconds": 30}


def window(start, end, first=0):
    classes = tuple((first + k) % 3 for k in range(3))
    return Prediction(
        0, "v.mp4", classes, (0.7, 0.2, 0.1), tuple(NAMES[k] for k in classes), start_seconds=start, end_seconds=end
    )


def frames_of(path):
    with av.open(str(path)) as container:
        return [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


@pytest.fixture
def video(tmp_path):
    """Two seconds, 160 x 120: frame k is grey, 5 k + 20."""
    return write_counting_video(tmp_path / "videos" / "v.mp4", 40, rate=20, size=(160, 120))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "videos").mkdir()
    monkeypatch.chdir(tmp_path / "videos")


def test_a_caption_is_a_bar_a_share_and_a_name():
    picture = np.full((240, 320, 3), 200, np.uint8)
    caption = (("jump", 0, 0.75, False), ("run", 1, 0.25, False))
    drawn = draw_caption(picture, caption)
    assert (picture == 200).all(), "the picture itself stays"
    changed = np.argwhere((drawn != 200).any(axis=2))
    top = changed[:, 0].min()
    assert top > 160, "only the bottom"
    greens = [int(((row == (90, 200, 120)).all(axis=1)).sum()) for row in drawn]
    lengths = sorted({count for count in greens if count}, reverse=True)
    assert lengths[0] / lengths[1] == pytest.approx(3, rel=0.1)
    bright = (drawn[top:, 120:] > 220).all(axis=2)
    assert bright.sum() > 50, "letters"
    longer = draw_caption(picture, (("a name that is far too long for a picture of this width" * 2, 0, 0.75, False),))
    assert (longer[-4:, -4:] == 80).all(), "it does not run over the edge"


def test_labels_of_several_stand_out():
    picture = np.zeros((240, 320, 3), np.uint8)
    marked = draw_caption(picture, (("jump", 0, 0.75, True),))
    plain = draw_caption(picture, (("jump", 0, 0.75, False),))
    assert (marked != plain).any()


@pytest.mark.parametrize(
    ("name", "drawn"),
    [("jump", "jump"), ("прыжок", "прыжок"), ("a\nb\x1b[1m", "a b?[1m"), ("", "class 3"), ("\U0010fffe", "class 3")],
)
def test_names_in_any_script_a_font_of_which_is_here(name, drawn):
    assert drawable_name(name, 3) == drawn


def a_font_with(letter, file):
    """Make a font "Box" that has only this letter; return its file."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    pen = TTGlyphPen(None)
    for step, point in enumerate([(0, 0), (0, 700), (500, 700), (500, 0)]):
        (pen.lineTo if step else pen.moveTo)(point)
    pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "box"])
    builder.setupCharacterMap({ord(letter): "box"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "box": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (600, 0), "box": (600, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Box", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(file)
    return str(file)


def test_a_font_of_the_machine_is_used(tmp_path, monkeypatch):
    """A font with one letter, made here, that no other font has."""
    from matplotlib import font_manager

    letter = "\U000f1234"  # private use
    assert font_for(letter) is None
    file = a_font_with(letter, tmp_path / "box.ttf")
    known = list(font_manager.fontManager.ttflist)
    fonts._files.cache_clear()
    font_manager.fontManager.addfont(file)
    try:
        assert font_for(letter) == file
        figure = new_figure(3, 2)
        figure.suptitle(picture_text(f"title {letter}"))
        figure.add_subplot().set_xticks([0, 1], [picture_text(letter), "b"])
        png_of(figure)  # a letter that is missing is a warning, and here an error
    finally:
        font_manager.fontManager.ttflist[:] = known
        matplotlib.rcdefaults()
        fonts._files.cache_clear()


def test_a_font_installed_after_matplotlib_listed_them_is_found(tmp_path, monkeypatch):
    from matplotlib import font_manager

    letter = "\U000f1235"
    file = a_font_with(letter, tmp_path / "late.ttf")
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [file, str(tmp_path / "no_font.ttf")])
    monkeypatch.setattr(font_manager.fontManager, "ttflist", list(font_manager.fontManager.ttflist))
    (tmp_path / "no_font.ttf").write_bytes(b"no font")
    fonts._new_files.cache_clear()
    try:
        assert font_for(letter) == file
        figure = new_figure(3, 2)
        title = figure.suptitle(letter)  # made before anybody looked for its font
        png_of(figure)
        assert title.get_fontfamily()[-1] == "Box"
    finally:
        fonts._new_files.cache_clear()


def test_the_last_window_ends_where_the_next_begins_in_its_own_time():
    """The last window of a video may be shorter: nothing overlaps, so nothing is divided."""
    scenes = scenes_of([window(0, 4), window(4, 8, 1), window(8, 9.5, 2)])
    assert [(scene.start_seconds, scene.end_seconds) for scene in scenes] == [(0, 4), (4, 8), (8, 9.5)]
    scenes = scenes_of([window(0, 4), window(2, 3, 1)])
    assert [(scene.start_seconds, scene.end_seconds) for scene in scenes] == [(0, 3), (3, 3)]


def test_scenes_follow_the_windows():
    scenes = scenes_of([window(0, 1), window(0.5, 1.5, 1), window(3, 4, 2)])
    assert [(scene.start_seconds, scene.end_seconds) for scene in scenes] == [(0, 0.75), (0.75, 1.5), (3, 4)]
    assert [scene.caption[0][0] for scene in scenes] == list(NAMES)
    (whole,) = scenes_of([Prediction(0, "v.mp4", (2,), (1.0,), ("x",), labels=(2,))])
    assert (whole.start_seconds, whole.end_seconds, whole.caption) == (0, float("inf"), (("x", 2, 1.0, True),))


def test_a_copy_has_the_frames_and_times_of_the_video_and_the_classes_of_the_time(video, tmp_path):
    items = [window(0.0, 0.5), window(0.5, 1.0, 1), window(1.5, 2.0, 2)]
    assert write_annotated(tmp_path / "out", items, named_videos(["v.mp4"]), **LIMITS) == []
    before, after = frames_of(video), frames_of(tmp_path / "out" / "v.mp4")
    assert [round(time, 3) for time, _ in after] == [round(time, 3) for time, _ in before]
    for number, ((_, picture), (_, copy)) in enumerate(zip(before, after, strict=True)):
        assert np.abs(picture[:60].astype(int) - copy[:60]).max() <= 6, "above the caption nothing changes"
        has_caption = np.abs(picture[-8:].astype(int) - copy[-8:]).max() > 6
        assert has_caption == (number < 20 or number >= 30), f"frame {number}: nothing is drawn in the gap"
    first, second = after[5][1], after[15][1]
    assert np.abs(first[90:].astype(int) - second[90:]).max() > 60, "another class, another name"


def test_odd_sizes_and_whole_videos(tmp_path):
    write_counting_video(tmp_path / "videos" / "odd.mp4", 5, size=(101, 75), pix_fmt="yuv444p")
    item = Prediction(0, "odd.mp4", (0,), (1.0,), ("jump",))
    assert write_annotated(tmp_path / "out", [item], named_videos(["odd.mp4"]), **LIMITS) == []
    assert [picture.shape for _, picture in frames_of(tmp_path / "out" / "odd.mp4")] == [(74, 100, 3)] * 5


def test_a_folder_of_pictures_and_a_part_of_a_video(video, tmp_path):
    import cv2

    (tmp_path / "videos" / "pictures").mkdir()
    for number in range(6):
        cv2.imwrite(str(tmp_path / "videos" / "pictures" / f"img_{number:05d}.jpg"), np.full((48, 64, 3), 90, np.uint8))
    paths = ["pictures", "v.mp4#t=0.5,1"]
    items = [Prediction(index, path, (0,), (1.0,), ("jump",)) for index, path in enumerate(paths)]
    assert write_annotated(tmp_path / "out", items, named_videos(paths), **LIMITS) == []
    assert len(frames_of(tmp_path / "out" / "pictures.mp4")) == 6
    assert len(frames_of(tmp_path / "out" / "v#t=0.5,1.mp4")) == 10


def test_a_copy_that_is_there_is_kept_and_another_one_is_made_for_other_classes(video, tmp_path):
    videos, out = named_videos(["v.mp4"]), tmp_path / "out"
    write_annotated(out, [window(0, 2)], videos, **LIMITS)
    first = (out / "v.mp4").stat()
    write_annotated(out, [window(0, 2)], videos, **LIMITS)
    assert (out / "v.mp4").stat().st_mtime_ns == first.st_mtime_ns
    write_annotated(out, [window(0, 2, 1)], videos, **LIMITS)
    assert (out / "v.mp4").stat().st_ino != first.st_ino
    assert [path.name for path in out.iterdir()] == ["v.mp4"], "nothing half-written"


def test_nothing_is_overwritten_that_is_no_copy(video, tmp_path):
    places = {"v.mp4": video}
    with pytest.raises(ConfigError, match="take the place of a video"):
        targets_of(tmp_path / "videos", places)
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", Path("/proc/none")):
        with pytest.raises(ConfigError, match="name another folder"):
            make_folder(folder, places)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "v.mp4").write_text("mine")
    (failed,) = write_annotated(tmp_path / "out", [window(0, 2)], named_videos(["v.mp4"]), **LIMITS)
    assert "not made by this program" in failed.error
    assert (tmp_path / "out" / "v.mp4").read_text() == "mine"
    (tmp_path / "videos" / "other").mkdir()
    write_counting_video(tmp_path / "videos" / "other" / "v.mp4", 10)
    write_annotated(tmp_path / "two", [window(0, 2)], named_videos(["v.mp4"]), **LIMITS)
    first = (tmp_path / "two" / "v.mp4").read_bytes()
    item = Prediction(0, "other/v.mp4", (0,), (1.0,), ("jump",))
    (failed,) = write_annotated(tmp_path / "two", [item], named_videos(["other/v.mp4"]), **LIMITS)
    assert "is the copy of" in failed.error
    assert (tmp_path / "two" / "v.mp4").read_bytes() == first


def test_a_full_disk_ends_the_copies_and_leaves_nothing(video, tmp_path, monkeypatch):
    def write(self, picture, tick):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Mp4Writer, "write", write)
    with pytest.raises(ReaderError, match=r"cannot be written \(No space left on device\)"):
        write_annotated(tmp_path / "out", [window(0, 2)], named_videos(["v.mp4"]), **LIMITS)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_video_that_promises_other_frames_is_copied_as_it_is(video, tmp_path, monkeypatch):
    """The first attempt finds out in the middle; the second knows."""
    pictures, attempts = AvDecoder.pictures, []

    def misleading(self, indices, *, go_on=False):
        attempts.append(len(indices))
        for place, picture in pictures(self, indices, go_on=go_on):
            if len(attempts) == 1 and place == 20:
                yield 3, picture  # another one once more, because it was wrong
            yield place, picture

    monkeypatch.setattr(AvDecoder, "pictures", misleading)
    assert write_annotated(tmp_path / "out", [window(0, 2)], named_videos(["v.mp4"]), **LIMITS) == []
    assert attempts == [40, 40]
    assert len(frames_of(tmp_path / "out" / "v.mp4")) == 40


@pytest.mark.parametrize(("quarters", "aspect"), [(0, Fraction(16, 11)), (1, Fraction(11, 16)), (2, Fraction(16, 11))])
def test_a_player_stretches_the_copy_as_the_video(tmp_path, quarters, aspect):
    """Pixels of 16:11 as in DV; where the picture is turned, so are they."""
    with av.open(str(tmp_path / "plain.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=20)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(16, 11)
        for _ in range(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 96, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
    turned_mp4(tmp_path / "plain.mp4", Path("v.mp4"), quarters)
    assert write_annotated(tmp_path / "out", [window(0, 1)], named_videos(["v.mp4"]), **LIMITS) == []
    write_copy(Path("v.mp4"), tmp_path / "small.mp4", short_side=32, options={}, comment="")
    for copy, short_side in ((tmp_path / "out" / "v.mp4", 64), (tmp_path / "small.mp4", 32)):
        with av.open(str(copy)) as container:
            shown = container.streams.video[0]
            assert shown.sample_aspect_ratio == aspect
            assert min(shown.width, shown.height) == short_side
            assert (shown.width > shown.height) == (quarters % 2 == 0)


def turned_mp4(source, target, quarters):
    """A copy of an mp4 file whose track header turns the picture by quarters (ISO/IEC 14496-12, 6.2.2 and 8.3.2)."""
    content = bytearray(source.read_bytes())
    cosine, sine = ((1, 0), (0, 1), (-1, 0))[quarters]
    matrix = struct.pack(">9i", cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30)
    start = content.index(b"tkhd") + 4 + 40
    assert struct.unpack(">i", content[start : start + 4]) == (1 << 16,)
    content[start : start + 36] = matrix
    target.write_bytes(content)


def test_copies_below_the_videos_are_no_videos_of_the_next_run(video, logged):
    Path("deep").mkdir()
    os.link("v.mp4", "deep/w.mp4")
    Path("link").symlink_to("deep/copies")
    results = Path("deep/copies")
    for _ in range(2):
        videos = named_videos(["."], results=results)
        assert [os.path.normpath(path) for path in videos.paths] == ["deep/w.mp4", "v.mp4"]
        items = [replace(window(0, 2), path=path) for path in videos.paths]
        assert write_annotated(results, items, videos, **LIMITS) == []
    assert len(list(results.rglob("*.mp4"))) == 2
    assert "2 files in ./deep/copies left out: results are written there" in logged()


def test_names_that_no_font_has_are_told(video, tmp_path, caplog):
    item = Prediction(0, "v.mp4", (0,), (1.0,), ("\U000f1235\U000f1236",))
    write_annotated(tmp_path / "out", [item], named_videos(["v.mp4"]), **LIMITS)
    assert "no font of this machine has the letters of 1 names" in caplog.text
