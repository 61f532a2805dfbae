"""Downloads files: interrupted ones are resumed, and a file appears only when it is complete.

Published weights come without checksums. So the SHA-256 at the first use is recorded beside the file
(``NAME.record.json``) and compared at every later use.
"""

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import httpx
from tqdm import tqdm

from utils.archives import unpack
from utils.atomic_file import write_json
from utils.errors import DownloadError, one_line
from utils.hashing import sha256
from utils.json_text import parse_json
from utils.logging import get_logger
from utils.temporary_folder import temporary_folder

logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every request otherwise
_ATTEMPTS = 5
_TIMEOUT = httpx.Timeout(30, connect=15)  # seconds without a byte


def fetch(url: str, folder: Path) -> Path:
    """Return the file named at the end of `url` in `folder`, downloading it if it is not there.

    Raises:
        DownloadError: it cannot be downloaded, or has changed since the first use.
    """
    name = _name_of(url)
    with _lock(folder, name, folder / name):
        if not (folder / name).exists():
            _download(url, folder / name, folder)
        _check_against_record(folder, name, url)
    return folder / name


def fetch_unpacked(url: str, folder: Path) -> Path:
    """Return the folder that the tar archive at `url` unpacks to, `folder` / the archive's name without its suffix.

    If the folder or the archive is there, it is used. The unpacked folder appears only when it is complete.

    Raises:
        DownloadError: the archive cannot be downloaded, or has changed since the first use.
        ArchiveError: it is damaged or hostile.
    """
    archive = folder / _name_of(url)
    name = archive.name.partition(".tar")[0]
    with _lock(folder, name, folder / name):
        if not (folder / name).is_dir():
            was_there = archive.exists()
            if not was_there:
                _download(url, archive, folder)
            try:
                _unpack_whole(archive, folder / name)
            finally:
                if not was_there:
                    archive.unlink()  # unpacked; or damaged, so that the next try fetches it anew
        _check_against_record(folder, name, url)
    return folder / name


def _name_of(url: str) -> str:
    try:
        name = PurePosixPath(httpx.URL(url).path).name
    except (httpx.InvalidURL, ValueError) as error:
        raise DownloadError(f"{url[:200]!r} is no address of a file ({one_line(error)})") from error
    if name in ("", ".", "..") or not name.isprintable() or len(name) > 200:
        raise DownloadError(f"{url[:200]!r} names no file")
    return name


@contextlib.contextmanager
def _lock(folder: Path, name: str, place: Path) -> Iterator[None]:
    """Let one process at a time work on `name`; the system frees the lock of a process that dies."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f".{name}.lock").touch()
    except OSError as error:
        if place.exists():  # a folder that somebody else keeps, with all that is needed in it
            yield
            return
        raise DownloadError(f"weights folder {folder} cannot be written: {error.strerror}") from error
    with open(folder / f".{name}.lock") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            get_logger().info("waiting for another process that fetches %s", name)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _download(url: str, target: Path, folder: Path) -> None:
    partial = folder / f".{target.name}.part"
    origin = folder / f".{target.name}.part.json"  # which version of the file the part belongs to
    get_logger().info("fetching %s into %s", url, folder)
    try:
        with httpx.Client(follow_redirects=True, timeout=_TIMEOUT) as client:
            reason = _try_download(client, url, partial, origin)
    except (ImportError, ValueError, httpx.InvalidURL) as error:  # a proxy setting that httpx cannot use
        reason = f"the proxy settings or the address cannot be used ({one_line(error)})"
    if not reason:
        reason = _why_unusable(partial)
    if not reason:
        os.replace(partial, target)
        origin.unlink(missing_ok=True)
        return
    raise DownloadError(
        f"{url} cannot be fetched: {reason}. Fetch it by other means and put it into {folder} as {target.name}, "
        f"then run this again"
    )


def _try_download(client: httpx.Client, url: str, partial: Path, origin: Path) -> str:
    """Make `partial` whole, with a few attempts; return why not, or nothing."""
    reason = ""
    for attempt in range(_ATTEMPTS):
        time.sleep(attempt)  # seconds; no wait before the first
        try:
            _continue_download(client, url, partial, origin)
            return ""
        except httpx.HTTPStatusError as error:
            reason = f"the server answers {error.response.status_code} {error.response.reason_phrase}"
            if error.response.status_code < 500:
                return reason
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol) as error:
            return f"the host cannot be reached ({error or type(error).__name__})"
        except httpx.HTTPError as error:  # broken off: go on from there
            reason = f"broken off ({error or type(error).__name__})"
            get_logger().info("%s: %s, going on", _name_of(url), reason)
    return reason


def _why_unusable(partial: Path) -> str:
    """Some servers send a page that says 'not found', or nothing, as if it were the file."""
    with open(partial, "rb") as handle:
        head = handle.read(256).lstrip()
    if head and head[:1] != b"<":
        return ""
    partial.unlink()
    return "the server sent a web page instead" if head else "the server sent an empty file"


def _continue_download(client: httpx.Client, url: str, partial: Path, origin: Path) -> None:
    """Make `partial` whole, beginning where it ends if the server still has the same version."""
    known = _read_json(origin) if partial.exists() else {}
    start = partial.stat().st_size if known.get("url") == url else 0
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if known.get("validator"):
            headers["If-Range"] = known["validator"]
    with client.stream("GET", url, headers=headers) as response:
        if response.status_code == 416:  # the part is longer than the file: not a part of it
            partial.unlink(missing_ok=True)
            raise httpx.ReadError("the file on the server has changed")
        response.raise_for_status()
        resumed = response.status_code == 206
        total = _total_bytes(response, start if resumed else 0)
        if resumed and (total != known.get("total") or not _begins_at(response, start)):
            partial.unlink(missing_ok=True)
            raise httpx.ReadError("the file on the server has changed")
        if not resumed:
            start = 0
            partial.write_bytes(b"")  # before `origin` says that the part is of this version
        write_json(origin, {"url": url, "validator": _validator(response), "total": total})
        with (
            open(partial, "ab") as handle,
            tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=_name_of(url), disable=None) as bar,
        ):
            for block in response.iter_bytes():
                handle.write(block)
                bar.update(len(block))
            handle.flush()
            os.fsync(handle.fileno())
    if total is not None and partial.stat().st_size != total:
        raise httpx.ReadError(f"{partial.stat().st_size} of {total} bytes came")


def _total_bytes(response: httpx.Response, start: int) -> int | None:
    if response.headers.get("Content-Encoding", "identity") != "identity":
        return None  # the length is that of the compressed content
    length = response.headers.get("Content-Length", "")
    return start + int(length) if length.isdecimal() else None


def _begins_at(response: httpx.Response, start: int) -> bool:
    return response.headers.get("Content-Range", "").startswith(f"bytes {start}-")


def _validator(response: httpx.Response) -> str | None:
    etag = response.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")


def _unpack_whole(archive: Path, target: Path) -> None:
    """Unpack `archive`; a single folder at its top becomes `target` itself."""
    with temporary_folder(target.parent, name=target.name) as temporary:
        (place := temporary / "content").mkdir()
        unpack(archive, place)
        content = list(place.iterdir())
        (content[0] if len(content) == 1 and content[0].is_dir() else place).rename(target)


def _check_against_record(folder: Path, name: str, url: str) -> None:
    place = folder / name
    record = folder / f"{name}.record.json"
    files = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
    found = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256(path)} for path in files
    }
    if not record.exists():
        if not os.access(folder, os.W_OK):
            return
        write_json(record, {"url": url, "files": found})
        get_logger().info("%s: size and SHA-256 of %d files recorded in %s", place, len(found), record.name)
        return
    expected = _read_json(record).get("files")
    expected = expected if isinstance(expected, dict) else {}
    differing = sorted(path for path in found.keys() | expected.keys() if found.get(path) != expected.get(path))
    if differing:
        raise DownloadError(
            f"{folder / differing[0]}: not what it was when it was first used ({record} says so; {len(differing)} "
            f"files differ). Remove {place} and {record.name} to fetch it again, or {record.name} alone to accept it"
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
