"""tools/demo.py: the page in a browser, its limits, and what it does not give away."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import paddle
import pytest
from conftest import NARROW, ROOT, write_counting_video
from seeded_values import fill
from strangers import visit as strangers_visit

from engine.scoring.scorers import DygraphScorer
from engine.scoring.video_answer import VideoAnswerer
from models.registry import build_model
from tools import demo
from utils.errors import ConfigError, VideoError

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
NAMES = ["run", "<img src=x onerror=document.title='hacked'>", "sit & stand", "跳"]


def make_answerer(config, **limits):
    network = fill(build_model(config))
    limits = {"time_limit_seconds": 60, "longest_seconds": 60, **limits}
    return VideoAnswerer(network, DygraphScorer(network), config, class_names=list("abcd"), **limits)


def test_an_answer(narrow_config, tmp_path):
    video = write_counting_video(tmp_path / "v.mp4", 47, rate=5, size=(48, 40))
    found = make_answerer(narrow_config()).answer(video)
    assert set(found.classes) == set("abcd")
    values = list(found.classes.values())
    assert values == sorted(values, reverse=True) and sum(values) == pytest.approx(1, abs=1e-5)
    assert re.match(r"47 frames, 9\.4 s; dygraph fp32: \d+\.\d s", found.summary)
    for picture in (found.timeline, found.attention):
        assert picture.startswith(b"\x89PNG")
    short = write_counting_video(tmp_path / "short.mp4", 20, rate=25)
    plain = narrow_config("NONLOCAL.conv3_nonlocal=False", "NONLOCAL.conv4_nonlocal=False")
    found = make_answerer(plain).answer(short)
    assert (found.timeline, found.attention) == (None, None)


@pytest.mark.parametrize(
    ("content", "limits", "reason"),
    [
        (b"no video", {}, r"^the video: .*not a video"),
        (b"", {}, "the file is empty"),
        (None, {"longest_seconds": 1}, "at most 1 are answered for"),
        (None, {"time_limit_seconds": 0.001}, r"longer than 0\.001 seconds"),
    ],
)
def test_what_cannot_be_answered_is_one_line_without_a_path(narrow_config, tmp_path, content, limits, reason):
    video = tmp_path / "v.mp4"
    if content is None:
        write_counting_video(video, 40, rate=20)
    else:
        video.write_bytes(content)
    with pytest.raises(VideoError, match=reason) as caught:
        make_answerer(narrow_config(), **limits).answer(video)
    assert str(tmp_path) not in str(caught.value)


def test_gradio_that_is_absent_is_named(monkeypatch, narrow_config):
    monkeypatch.setitem(sys.modules, "gradio", None)
    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, "")  # put back afterwards
    with pytest.raises(ConfigError, match=r"pip install -r requirements-demo\.txt"):
        demo.main(["--config", str(ROOT / "configs" / "nonlocal.txt"), "--weights", "w"])


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The address of a page that runs, the process, and the folder of what visitors send."""
    yield from running_page(tmp_path_factory.mktemp("demo"))


def running_page(folder, *arguments):
    """See the fixture `page`."""
    pytest.importorskip("gradio")
    from configs.loading import load_config
    from models.registry import NETWORKS

    config = load_config(ROOT / "configs" / "nonlocal.txt", NARROW, networks=NETWORKS)
    paddle.save(fill(build_model(config)).state_dict(), str(folder / "w.pdparams"))
    (folder / "names.txt").write_text("\n".join(NAMES), encoding="utf-8")
    (folder / "tmp").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(ROOT / "tools" / "demo.py"), "--config", str(ROOT / "configs" / "nonlocal.txt")]
    command += [part for key in NARROW for part in ("-o", key)]
    command += ["--weights=w.pdparams", "--class_names=names.txt", "--engine=dygraph", f"--port={port}", *arguments]
    environment = {**os.environ, "TMPDIR": str(folder / "tmp"), "PYTHONWARNINGS": "ignore"}
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environment)
    address = f"http://127.0.0.1:{port}"
    for _ in range(120):
        assert process.poll() is None, (folder / "log").read_text()
        try:
            if httpx.get(address).status_code == 200:
                break
        except httpx.TransportError:
            time.sleep(0.5)
    yield address, process, folder
    if process.poll() is None:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def browser():
    """Chromium, driven by Playwright."""
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM:
        pytest.skip("no chromium")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def visit(browser, address):
    """A visitor, with the list of the addresses that its page asks."""
    tab = browser.new_context().new_page()
    asked = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(address)
    tab.wait_for_selector("#ask")
    return tab, asked


def choose(tab, file):
    tab.set_input_files("input[type=file]", str(file))
    tab.wait_for_selector("video")


def summary(tab):
    tab.wait_for_function("document.querySelector('#summary textarea').value.length > 0", timeout=60_000)
    return tab.input_value("#summary textarea")


def test_a_video_gets_its_answer(page, browser, tmp_path):
    address, _, _ = page
    tab, asked = visit(browser, address)
    choose(tab, write_counting_video(tmp_path / "v.mp4", 47, rate=5))
    tab.click("#ask")
    assert summary(tab).startswith("47 frames, 9.4 s; dygraph fp32")
    classes = tab.inner_text("#classes")
    assert all(name in classes for name in NAMES), "names as they are"
    assert tab.title() != "hacked"
    for name in ("timeline", "attention"):
        tab.wait_for_selector(f"#{name} img")
    others = [url for url in asked if not url.startswith((address, "data:", "blob:", "ws://127.0.0.1"))]
    assert others == [], "nothing is asked of other servers"


def test_a_broken_file_is_answered_with_its_fault(page, browser, tmp_path):
    address, _, folder = page
    tab, _ = visit(browser, address)
    (tmp_path / "<b>broken.mp4").write_bytes(b"no video at all")
    tab.set_input_files("input[type=file]", str(tmp_path / "<b>broken.mp4"))
    tab.wait_for_selector("video")
    tab.click("#ask")
    ours = "the video: not a video that FFmpeg can open"  # Gradio may say something of its own before
    tab.wait_for_selector(f".toast-body:has-text('{ours}')", timeout=30_000)
    assert str(folder) not in tab.inner_text("body")


def test_a_file_that_is_too_large_is_refused(page, browser, tmp_path):
    address, _, folder = page
    tab, _ = visit(browser, address)
    with open(tmp_path / "large.mp4", "wb") as handle:
        handle.truncate(200 << 20)
    tab.set_input_files("input[type=file]", str(tmp_path / "large.mp4"))
    message = tab.wait_for_selector(".toast-body", timeout=60_000).inner_text()
    assert "maximum" in message.lower() or "size" in message.lower()
    # The page may only have asked; a program that sends it all the same is refused too.
    with open(tmp_path / "large.mp4", "rb") as handle:
        try:
            status = httpx.post(f"{address}/gradio_api/upload", files={"files": handle}, timeout=60).status_code
        except httpx.TransportError:
            status = 413  # the connection was closed while it was sent
    assert status >= 400
    sizes = [file.stat().st_size for file in (folder / "tmp").rglob("*") if file.is_file()]
    assert max(sizes, default=0) < 150 << 20


def test_two_visitors_at_once(page, browser, tmp_path):
    address, _, _ = page
    tabs = []
    for number in (30, 40):
        tab, _ = visit(browser, address)
        choose(tab, write_counting_video(tmp_path / f"{number}.mp4", number))
        tabs.append(tab)
    for tab in tabs:
        tab.click("#ask")
    assert [summary(tab).partition(" ")[0] for tab in tabs] == ["30", "40"], "each gets its own"


def test_no_request_reads_a_file_of_the_server(page):
    address, _, folder = page
    secret = folder / "names.txt"
    for path in ("/etc/passwd", secret, folder / "w.pdparams", f"{folder}/tmp/../names.txt", ROOT / "README.md"):
        for prefix in ("file=", "gradio_api/file=", "gradio_api/file/", "static/", "assets/", "gradio_api/stream/"):
            found = httpx.get(f"{address}/{prefix}{path}")
            assert found.status_code >= 400, (prefix, path)
    data = [{"path": str(secret), "meta": {"_type": "gradio.FileData"}}]
    for index in range(4):
        payload = {"data": data, "fn_index": index, "session_hash": "x"}
        joined = httpx.post(f"{address}/gradio_api/queue/join", json=payload)
        called = httpx.post(f"{address}/gradio_api/run/predict", json=payload)
        assert b"run" not in called.content or called.status_code >= 400
        if joined.status_code == 200:
            with httpx.stream("GET", f"{address}/gradio_api/queue/data?session_hash=x", timeout=20) as events:
                text = "".join(events.iter_lines())
            assert "sit & stand" not in text
    copies = list((folder / "tmp").rglob("names.txt"))
    assert copies == [], "nothing of the server was taken into the folder that is served"


def megabytes(folder):
    """MB of what visitors sent and the page still holds."""
    return sum(file.stat().st_size for file in (folder / "tmp").rglob("*") if file.is_file()) / 1e6


def begin_upload(address, *, claimed_bytes, sent_bytes):
    """A connection that has sent a part of a file, and keeps silent; closed if the page does not want so much."""
    sock = socket.create_connection(address, timeout=10)
    sock.sendall(
        b"POST /gradio_api/upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=bbbb\r\n"
        b"Content-Length: %d\r\n\r\n--bbbb\r\n"
        % claimed_bytes
        + b'Content-Disposition: form-data; name="files"; filename="v.mp4"\r\nContent-Type: video/mp4\r\n\r\n'
    )
    with contextlib.suppress(OSError):
        for _ in range(sent_bytes // 100_000):
            sock.sendall(b"x" * 100_000)
    return sock


def test_strangers_do_not_disturb_the_page_and_its_end_leaves_nothing(tmp_path):
    pages = running_page(tmp_path, "--max_mb=2")
    address, process, folder = next(pages)
    listening = ("127.0.0.1", int(address.rpartition(":")[2]))

    def assert_it_answers():
        assert httpx.get(address, timeout=20).status_code == 200
        pages_in_memory = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
        assert pages_in_memory * os.sysconf("SC_PAGE_SIZE") < 1e9

    visiting = threading.Thread(target=strangers_visit, args=[listening])
    visiting.start()
    time.sleep(1)
    assert_it_answers()
    visiting.join()
    assert_it_answers()
    for path in ("queue/join", "run/predict", "no/such/page"):
        with contextlib.suppress(httpx.TransportError):  # the connection is closed while more is sent
            done = httpx.post(f"{address}/gradio_api/{path}", content=b"[" * 300_000_000, timeout=60)
            assert done.status_code >= 400
    assert_it_answers()
    open_ends = [begin_upload(listening, claimed_bytes=10**12, sent_bytes=10_000_000)]
    open_ends += [begin_upload(listening, claimed_bytes=1_900_000, sent_bytes=1_500_000) for _ in range(10)]
    assert_it_answers()
    for end in open_ends:
        end.close()
    statuses = []
    for number in range(30):  # 54 MB, of which the page holds 20 times 2
        content = number.to_bytes(4, "big") * 450_000
        statuses.append(httpx.post(f"{address}/gradio_api/upload", files={"files": ("v.mp4", content)}).status_code)
    assert statuses[0] == 200 and statuses[-1] == 507, statuses
    assert megabytes(folder) < 45
    assert_it_answers()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0, (folder / "log").read_text()
    assert list((folder / "tmp").iterdir()) == []
    assert "Traceback" not in (folder / "log").read_text()
    pages.close()


def test_a_port_that_is_taken_is_one_line(page, tmp_path):
    pytest.importorskip("gradio")
    _, _, folder = page
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = subprocess.run(
            [
                sys.executable, str(ROOT / "tools" / "demo.py"), "--config", str(ROOT / "configs" / "nonlocal.txt"),
                *(part for key in NARROW for part in ("-o", key)), "--engine=dygraph",
                f"--weights={folder}/w.pdparams", f"--port={taken.getsockname()[1]}",
            ],
            cwd=tmp_path, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    assert done.returncode == 2
    assert "error: --host 127.0.0.1 --port" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_cannot_be_is_refused_at_once():
    with pytest.raises(ConfigError, match="--port 99999: ports are numbered from 1 to 65535"):
        demo.main(["--port=99999"])


def test_nothing_of_it_is_imported_otherwise():
    code = "import sys, infer, test, train; print(*{'gradio', 'PIL', 'playwright', 'tensorboard'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "", done.stdout + done.stderr
