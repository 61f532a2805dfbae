"""Downloads against a local server that breaks off, lies, disappears and serves hostile archives."""

import functools
import http.server
import io
import json
import os
import subprocess
import sys
import tarfile
import threading

import numpy as np
import pytest
from conftest import ROOT
from foreign_writers import fluid_variable

import utils.archives
import utils.download
from utils.download import fetch, fetch_unpacked
from utils.errors import ArchiveError, DownloadError
from utils.hashing import sha256

CONTENT = np.random.default_rng(0).bytes(200_000)


class Server(http.server.ThreadingHTTPServer):
    """Serves `files` by path; `requests` lists (path, Range header). `cuts`: bytes after which each answer ends."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.requests, self.cuts, self.etag, self.ranges = {}, [], [], '"v1"', True
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=functools.partial(self.serve_forever, 0.01), daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    encoding = ""

    def do_GET(self):
        server, wanted = self.server, self.headers.get("Range")
        server.requests.append((self.path, wanted))
        content = server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        start = 0
        if wanted and server.ranges and self.headers.get("If-Range") in (None, server.etag):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        if start > len(content) or (start and start == len(content)):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if self.encoding:
            self.send_header("Content-Encoding", self.encoding)
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        cut = server.cuts.pop(0) if server.cuts else len(content)
        self.wfile.write(content[start : start + cut])
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(utils.download.time, "sleep", lambda seconds: None)
    server = Server()
    yield server
    server.shutdown()
    server.server_close()


def archive_of(members):
    """A tar.gz of (name, content); content None: a folder; a TarInfo stands for itself."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members:
            member = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            if content is None and member is not name:
                member.type = tarfile.DIRTYPE
            member.size = len(content or b"")
            archive.addfile(member, io.BytesIO(content or b""))
    return buffer.getvalue()


def link(name, target, kind=tarfile.SYMTYPE):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def test_a_web_page_or_nothing_in_place_of_the_file(server, tmp_path):
    server.files |= {"/page": b"\n<!DOCTYPE html>gone", "/nothing": b""}
    with pytest.raises(DownloadError, match="the server sent a web page instead"):
        fetch(f"{server.url}/page", tmp_path)
    with pytest.raises(DownloadError, match="the server sent an empty file"):
        fetch(f"{server.url}/nothing", tmp_path)
    assert not [file for file in tmp_path.iterdir() if not file.name.startswith(".")]


@pytest.mark.parametrize(
    "url", ["http://[::1/x", "http://h:abc/x", "http://h/a%00b", "http://h/%2e%2e", "http://h/", "http://h/a\nb"]
)
def test_what_is_no_address_of_a_file(tmp_path, url):
    with pytest.raises(DownloadError, match=r"is no address of a file|names no file"):
        fetch(url, tmp_path)


def test_proxy_settings_that_cannot_be_used(server, tmp_path, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    with pytest.raises(DownloadError, match=r"the proxy settings or the address cannot be used|cannot be reached"):
        fetch("http://nowhere.invalid/net", tmp_path)


def test_a_gzipped_answer(server, tmp_path, monkeypatch):
    """Some servers compress whatever is asked; the length they state is then not that of the file."""
    import gzip

    monkeypatch.setattr(Handler, "encoding", "gzip")
    server.files["/net"] = gzip.compress(CONTENT)
    assert fetch(f"{server.url}/net", tmp_path).read_bytes() == CONTENT


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_of_somebody_else(server, tmp_path):
    (tmp_path / "net").write_bytes(CONTENT)
    tmp_path.chmod(0o555)
    assert fetch(f"{server.url}/net", tmp_path).read_bytes() == CONTENT
    tmp_path.chmod(0o755)


def test_one_name_at_two_addresses(server, tmp_path, monkeypatch):
    from models.weights.released import fetch_url

    monkeypatch.setenv("NONLOCAL_WEIGHTS_HOME", str(tmp_path))
    server.files |= {"/a/best.pdparams": b"one", "/b/best.pdparams": b"two"}
    assert [fetch_url(f"{server.url}/{x}/best.pdparams").read_bytes() for x in "aba"] == [b"one", b"two", b"one"]


GOOD = archive_of([("net", None), ("net/a_w", b"abc"), ("net/b_w", b"defg")])


def test_a_whole_file(server, tmp_path):
    server.files["/x/net.pdparams"] = CONTENT
    path = fetch(f"{server.url}/x/net.pdparams", tmp_path / "weights")
    assert path.read_bytes() == CONTENT
    record = json.loads((path.parent / "net.pdparams.record.json").read_text())
    assert record["files"] == {"net.pdparams": {"bytes": len(CONTENT), "sha256": sha256(path)}}
    assert fetch(f"{server.url}/x/net.pdparams", tmp_path / "weights") == path
    assert len(server.requests) == 1, "the second time nothing is fetched"
    assert {file.name for file in path.parent.iterdir()} == {
        "net.pdparams", "net.pdparams.record.json", ".net.pdparams.lock"
    }  # fmt: skip


@pytest.mark.parametrize("etag", ['"v1"', "", 'W/"weak"'])
def test_what_breaks_off_goes_on_where_it_was(server, tmp_path, etag):
    server.files["/net"], server.cuts, server.etag = CONTENT, [70_000, 60_000], etag
    assert fetch(f"{server.url}/net", tmp_path).read_bytes() == CONTENT
    assert [wanted for _, wanted in server.requests] == [None, "bytes=70000-", "bytes=130000-"]


def test_a_later_run_goes_on_too(server, tmp_path):
    server.files["/net"], server.cuts = CONTENT, [30_000, *[0] * 8]
    with pytest.raises(DownloadError, match=r"broken off.*put it into .* as net, then run this again"):
        fetch(f"{server.url}/net", tmp_path)
    assert not (tmp_path / "net").exists()
    server.cuts = []
    assert fetch(f"{server.url}/net", tmp_path).read_bytes() == CONTENT
    assert server.requests[-1] == ("/net", "bytes=30000-")


def test_a_server_without_ranges(server, tmp_path):
    server.files["/net"], server.cuts, server.ranges = CONTENT, [70_000], False
    assert fetch(f"{server.url}/net", tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("etag", ['"v2"', ""])
def test_a_file_that_changed_in_between_starts_anew(server, tmp_path, etag):
    server.files["/net"], server.cuts = CONTENT, [30_000, *[0] * 8]
    server.etag = etag and '"v1"'
    with pytest.raises(DownloadError):
        fetch(f"{server.url}/net", tmp_path)
    server.files["/net"], server.cuts, server.etag = CONTENT[::-1][:-5], [], etag
    assert fetch(f"{server.url}/net", tmp_path).read_bytes() == CONTENT[::-1][:-5]


def test_a_part_longer_than_the_file(server, tmp_path):
    server.files["/net"], server.cuts, server.etag = CONTENT, [30_000, *[0] * 8], ""
    with pytest.raises(DownloadError):
        fetch(f"{server.url}/net", tmp_path)
    server.files["/net"], server.cuts = CONTENT[:20_000], []
    assert fetch(f"{server.url}/net", tmp_path).read_bytes() == CONTENT[:20_000]


def test_absent_and_unreachable(server, tmp_path):
    with pytest.raises(DownloadError, match=r"/gone cannot be fetched: the server answers 404 Not Found\. Fetch it by"):
        fetch(f"{server.url}/gone", tmp_path)
    assert len(server.requests) == 1
    with pytest.raises(
        DownloadError, match=rf"http://127\.0\.0\.1:9/net .*cannot be reached.* put it into {tmp_path} as net"
    ):
        fetch("http://127.0.0.1:9/net", tmp_path)
    assert not [file for file in tmp_path.iterdir() if not file.name.startswith(".")]


def test_a_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match=r"weights folder .* cannot be written"):
        fetch(f"{server.url}/net", tmp_path / "file" / "weights")


def test_another_content_than_recorded(server, tmp_path):
    server.files["/net"] = CONTENT
    path = fetch(f"{server.url}/net", tmp_path)
    path.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(
        DownloadError, match=r"net: not what it was when it was first used.*Remove .* to fetch it again"
    ):
        fetch(f"{server.url}/net", tmp_path)


def test_an_archive(server, tmp_path):
    server.files["/net.tar.gz"] = GOOD
    folder = fetch_unpacked(f"{server.url}/net.tar.gz", tmp_path)
    assert folder == tmp_path / "net"
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {"a_w": b"abc", "b_w": b"defg"}
    assert not (tmp_path / "net.tar.gz").exists()
    assert fetch_unpacked(f"{server.url}/net.tar.gz", tmp_path) == folder
    assert len(server.requests) == 1
    (folder / "b_w").write_bytes(b"defx")
    with pytest.raises(DownloadError, match=r"net/b_w: not what it was"):
        fetch_unpacked(f"{server.url}/net.tar.gz", tmp_path)


def test_an_archive_without_a_top_folder(server, tmp_path):
    server.files["/net.tar.gz"] = archive_of([("a_w", b"abc"), ("b_w", b"d")])
    assert {file.name for file in fetch_unpacked(f"{server.url}/net.tar.gz", tmp_path).iterdir()} == {"a_w", "b_w"}


def test_what_a_user_put_there(server, tmp_path):
    """The archive, or the unpacked folder: no server is asked, and the archive stays."""
    (tmp_path / "net.tar.gz").write_bytes(GOOD)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a_w").write_bytes(b"x")
    assert (fetch_unpacked(f"{server.url}/net.tar.gz", tmp_path) / "a_w").read_bytes() == b"abc"
    assert (fetch_unpacked(f"{server.url}/other.tar.gz", tmp_path) / "a_w").read_bytes() == b"x"
    assert (tmp_path / "net.tar.gz").exists()
    assert not server.requests


HOSTILE = {
    "above": archive_of([("net/a_w", b"abc"), ("../evil", b"x")]),
    "above, hidden": archive_of([("net/../../evil", b"x")]),
    "absolute": archive_of([("/tmp/evil_of_a_test", b"x")]),
    "symbolic link": archive_of([(link("net", "/tmp"), None), ("net/evil_of_a_test", b"x")]),
    "hard link": archive_of([(link("net/a", "/etc/passwd", tarfile.LNKTYPE), None)]),
    "device": archive_of([(link("net/a", "", tarfile.CHRTYPE), None)]),
    "pipe": archive_of([(link("net/a", "", tarfile.FIFOTYPE), None)]),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_archives(server, tmp_path, what):
    server.files["/net.tar.gz"] = HOSTILE[what]
    with pytest.raises(ArchiveError, match=r"refused, its member .* points out of the folder, or is a link"):
        fetch_unpacked(f"{server.url}/net.tar.gz", tmp_path / "weights")
    assert {file.name for file in tmp_path.rglob("*")} == {"weights", ".net.lock"}


def test_an_archive_that_would_fill_the_disk(server, tmp_path, monkeypatch):
    monkeypatch.setattr(utils.archives, "_FREE_BYTES", 5)
    server.files["/net.tar.gz"] = GOOD
    with pytest.raises(ArchiveError, match="would unpack to more than"):
        fetch_unpacked(f"{server.url}/net.tar.gz", tmp_path)
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize("damage", ["cut", "flipped", "text"])
def test_a_corrupted_archive_is_fetched_anew_the_next_time(server, tmp_path, damage):
    whole = archive_of([("net/a_w", CONTENT)])
    flipped = bytearray(whole)
    flipped[5000] ^= 255
    server.files["/net.tar.gz"] = {"cut": whole[:9000], "flipped": bytes(flipped), "text": b"no archive" * 99}[damage]
    with pytest.raises(ArchiveError, match="a damaged archive"):
        fetch_unpacked(f"{server.url}/net.tar.gz", tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {".net.lock"}
    server.files["/net.tar.gz"] = whole
    assert (fetch_unpacked(f"{server.url}/net.tar.gz", tmp_path) / "a_w").read_bytes() == CONTENT


def test_two_processes_at_once(server, tmp_path):
    server.files["/net.tar.gz"] = archive_of([("net/a_w", CONTENT * 20)])
    code = "import sys; from pathlib import Path; from utils.download import fetch_unpacked\n"
    code += f"print(fetch_unpacked('{server.url}/net.tar.gz', Path(sys.argv[1])))"
    both = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [process.communicate(timeout=60)[0].strip() for process in both] == [str(tmp_path / "net")] * 2
    assert len(server.requests) == 1
    assert (tmp_path / "net" / "a_w").read_bytes() == CONTENT * 20


def test_a_program_fetches_what_its_command_leaves_out(server, run_program, tmp_path, monkeypatch):
    """test.py without --weights: the released archive, from a mirror, and what is wrong with it."""
    server.files["/nonlocal_kinetics.tar.gz"] = archive_of(
        [("nonlocal_kinetics/conv1_weights", fluid_variable(np.ones((64, 3, 1, 7, 7), np.float32)))]
    )
    monkeypatch.setenv("NONLOCAL_WEIGHTS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NONLOCAL_WEIGHTS_URL", server.url)
    shapes = ["-o", "TEST.filelist=list.txt"]
    (tmp_path / "a.mp4").write_text("never opened")
    (tmp_path / "list.txt").write_text("a.mp4 0\n")
    done = run_program("test.py", *shapes, narrow=False)
    assert done.returncode == 2, done.stderr
    assert f"fetching {server.url}/nonlocal_kinetics.tar.gz into {tmp_path}/home" in done.stderr
    assert "326 missing (bn_conv1_scale" in done.stderr
    assert (tmp_path / "home" / "nonlocal_kinetics" / "conv1_weights").is_file()
    monkeypatch.setenv("NONLOCAL_WEIGHTS_URL", "http://127.0.0.1:9")
    done = run_program("train.py", "-o", "TRAIN.filelist=list.txt", "-o", "VALID.filelist=list.txt", narrow=False)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if "error: " in line]
    assert "http://127.0.0.1:9/Nonlocal_ResNet50_pretrained.tar.gz cannot be fetched: the host cannot be" in line
    assert f"put it into {tmp_path}/home as Nonlocal_ResNet50_pretrained.tar.gz" in line
