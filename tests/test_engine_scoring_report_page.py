"""The page of a test: all that the test found is on it, nothing is loaded, a browser shows every picture."""

import base64
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from conftest import write_counting_video
from seeded_values import fill
from tested_network import run_test_of

from datareader.building import build_test_dataset
from datareader.processes import pool
from engine.scoring import report_page
from engine.scoring.report_page import strip_of_video
from models.registry import build_model
from utils.errors import ReaderError, VideoError

BROWSERS = [found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))]
NAMES = ["<script>alert('run')</script>", "jump & run", "$x^2$", "stand"]


class Page(HTMLParser):
    """Text, pictures and addresses of a page."""

    def __init__(self, text):
        super().__init__()
        self.text, self.pictures, self.addresses, self.tags = "", [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        attributes = dict(attributes)
        self.addresses += [attributes[key] for key in ("src", "href", "srcset", "action") if key in attributes]
        if tag == "img":
            self.pictures.append(attributes["src"])

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def tested(narrow_config, shapes, tmp_path):
    """A test of eight videos, one of them under an odd name, and one that cannot be read; folder and evaluation."""
    lines = (shapes / "train.txt").read_text().splitlines()
    odd = tmp_path / "a <b> & 'c'.mp4"
    odd.write_bytes((shapes / lines[0].rpartition(" ")[0]).read_bytes())
    listing = tmp_path / "list.txt"
    listing.write_text("\n".join([f"{odd} 3", *(f"{shapes}/{line}" for line in lines[1:]), "<gone>.mp4 1"]) + "\n")
    config = narrow_config(f"TEST.checkpoint_dir={tmp_path}/out", f"TEST.filelist={listing}")
    network = fill(build_model(config))
    evaluation = run_test_of(
        config, network, build_test_dataset(config), weights_source="w.pdparams", log_interval=99, class_names=NAMES
    )
    return tmp_path / "out", evaluation


def test_without_reader_processes_none_are_started_for_the_pictures(tested, monkeypatch, narrow_config, tmp_path):
    folder, _ = tested
    text = (folder / "report.html").read_text()
    assert narrow_config().TEST.num_reader_threads == 0

    def start_worker(*args):
        raise AssertionError("a process was started")

    monkeypatch.setattr(pool, "start_worker", start_worker)
    config = narrow_config(f"TEST.checkpoint_dir={tmp_path}/again", f"TEST.filelist={tmp_path}/list.txt")
    run_test_of(config, fill(build_model(config)), build_test_dataset(config), weights_source="w", log_interval=99)
    again = (tmp_path / "again" / "report.html").read_text()
    assert again.count("data:image/jpeg") == text.count("data:image/jpeg") > 0


def test_the_page_says_what_the_test_found(tested):
    folder, _ = tested
    text = (folder / "report.html").read_text()
    page = Page(text)
    results = json.loads((folder / "results.json").read_text())
    assert "script" not in page.tags, "names of classes and files are text"
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert not re.search(r"url\(|@import|http", text)
    for key in ("top1", "mean_class_top1", "clip_top1", "top1_of_all"):
        assert f"{100 * results['metrics'][key]:.2f} %" in page.text
    assert "top-5" not in page.text, "there are four classes"
    assert "8 of 9" in page.text
    assert "<gone>.mp4: no such file" in page.text
    wrong = [video for video in results["videos"] if not video["correct"]]
    assert len(results["mistakes"]) == len(wrong) > 0
    assert text.count('class="mistake"') == len(wrong)
    positions = [page.text.index(results["videos"][index]["path"]) for index in results["mistakes"]]
    assert positions == sorted(positions), "the most confident first"
    assert len(page.pictures) == len(wrong) + 3
    for picture in page.pictures:
        content = np.frombuffer(base64.b64decode(picture.partition(",")[2]), np.uint8)
        assert cv2.imdecode(content, cv2.IMREAD_COLOR) is not None
    for words in (results["parameters_sha256"], results["weights"], "fp32", "[NONLOCAL]", *NAMES):
        assert words in page.text


@pytest.mark.skipif(not BROWSERS, reason="no chromium")
@pytest.mark.parametrize("width", [1000, 400])
def test_a_browser_shows_every_picture(tested, tmp_path, width):
    folder, _ = tested
    text = (folder / "report.html").read_text()
    check = """<script>addEventListener("load", () => {
        const shown = [...document.images].map(i => `${i.complete && i.naturalWidth}x${i.naturalHeight}:${i.className}`)
        const wide = document.documentElement.scrollWidth > innerWidth
        document.body.innerHTML = `<p id="found">${JSON.stringify([shown, wide, document.title])}</p>` })</script>"""
    page = folder / "checked.html"
    page.write_text(text.replace("</body>", f"{check}</body>"))
    done = subprocess.run(
        [BROWSERS[0], "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         f"--user-data-dir={tmp_path}/profile", f"--window-size={width},800", "--virtual-time-budget=5000",
         "--dump-dom", f"file://{page}"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    found = re.search(r'<p id="found">(.*?)</p>', done.stdout)
    assert found, done.stderr[-2000:]
    shown, too_wide, title = json.loads(found[1])
    assert len(shown) == len(Page(text).pictures)
    assert all(re.fullmatch(r"[1-9]\d*x[1-9]\d*:(strip|plot|plot small)", picture) for picture in shown), shown
    assert all("x96:" in picture for picture in shown if picture.endswith("strip"))
    assert not too_wide
    assert title == "Test of w.pdparams"


def test_a_strip_shows_the_video_from_first_to_last(tmp_path):
    """Frame k has brightness 5 k + 20."""
    content = strip_of_video(write_counting_video(tmp_path / "a.mp4", 36, size=(64, 48)), "a.mp4")
    strip = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert strip.shape == (96, 8 * 128, 3)
    levels = strip.reshape(96, 8, 128, 3)[:, :, 40:90].mean(axis=(0, 2, 3))
    np.testing.assert_allclose(levels, [20 + 5 * k for k in (0, 5, 10, 15, 20, 25, 30, 35)], atol=3)
    with pytest.raises(VideoError):
        strip_of_video(tmp_path / "absent.mp4", "absent.mp4")


def test_pictures_that_cannot_be_had_do_not_stop_a_test(narrow_config, tmp_path, monkeypatch, logged):
    def dies(*args, **keys):
        raise ReaderError("9 reader processes in a row ended")

    monkeypatch.setattr(report_page, "for_each_video", dies)
    config = narrow_config(f"TEST.checkpoint_dir={tmp_path}")
    network = fill(build_model(config))
    evaluation = run_test_of(config, network, build_test_dataset(config), weights_source="w", log_interval=99)
    assert evaluation.measures.num_scored == 4
    assert "cannot be shown: it could not be read again" in (tmp_path / "report.html").read_text()
    assert "report.html lacks pictures: 9 reader processes in a row ended" in logged()


def test_many_classes_and_no_mistakes(narrow_config, shapes, tmp_path):
    config = narrow_config("MODEL.num_classes=60", f"TEST.checkpoint_dir={tmp_path}")
    network = build_model(config)

    class Right:
        engine, precision, calls = "test", "fp32", 0

        def __call__(self, views):
            probabilities = np.full((len(views), 60), 0.001, np.float32)
            probabilities[:, dataset.videos.labels[Right.calls // 2]] = 0.941  # six views come as four and two
            Right.calls += 1
            return probabilities

    dataset = build_test_dataset(config)
    evaluation = run_test_of(config, network, dataset, weights_source="w", log_interval=9, scorer=Right())
    assert evaluation.measures.top1 == 1
    text = (tmp_path / "report.html").read_text()
    assert "<p>None.</p>" in text
    assert "class 3" in text
