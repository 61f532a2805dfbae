"""Reads and unpacks tar archives that may be damaged or hostile."""

import bz2
import gzip
import io
import lzma
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from utils.errors import ArchiveError

# Weights hardly compress. What unpacks to more than this many times its size is made to fill a disk.
_MAX_RATIO = 20
_FREE_BYTES = 64 << 20
_OPENERS = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ", lzma.open))


def tar_members(path: Path) -> Iterator[tuple[tarfile.TarInfo, BinaryIO | None]]:
    """Yield every member of a tar archive (plain, gzip, bzip2 or xz), and its content if it is a regular file.

    Raises:
        ArchiveError: damaged, cut off, or unpacking to far more than its size.
    """
    try:
        with tempfile.TemporaryFile() as plain:
            _decompress(path, plain)
            size = plain.seek(0, io.SEEK_END)
            plain.seek(0)
            with tarfile.open(fileobj=plain, mode="r:") as archive:
                for member in archive:
                    if member.offset_data + (member.size if member.isreg() else 0) > size:
                        raise ArchiveError(f"{path}: a damaged archive ({member.name!r} is cut off)")
                    yield member, archive.extractfile(member) if member.isreg() else None
                end = archive.offset
            # A damaged header looks like the end to the library. After the true end there is nothing but zeros.
            plain.seek(end)
            while block := plain.read(1 << 20):
                if any(block):
                    raise ArchiveError(f"{path}: a damaged archive (after {end} bytes)")
    except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, ValueError, OverflowError) as error:
        raise ArchiveError(f"{path}: a damaged archive ({error})") from error
    except OSError as error:
        if error.errno is not None:  # the disk, not the archive
            raise
        raise ArchiveError(f"{path}: a damaged archive ({error})") from error


def _decompress(path: Path, plain: BinaryIO) -> None:
    with open(path, "rb") as handle:
        head = handle.read(8)
    opener = next((opener for magic, opener in _OPENERS if head.startswith(magic)), open)
    limit = path.stat().st_size * _MAX_RATIO + _FREE_BYTES
    with opener(path, "rb") as source:
        while block := source.read(1 << 20):
            if plain.tell() + len(block) > limit:
                raise ArchiveError(f"{path}: refused, it would unpack to more than {limit >> 20} MiB")
            plain.write(block)
    plain.flush()


def unpack(path: Path, folder: Path) -> None:
    """Unpack the regular files and folders of a tar archive into `folder`.

    Raises:
        ArchiveError: as `tar_members`, or a member would lie outside of `folder`, or is a link or device.
    """
    for member, content in tar_members(path):
        name = PurePosixPath(member.name)
        if name.is_absolute() or ".." in name.parts or not (member.isdir() or content):
            raise ArchiveError(f"{path}: refused, its member {member.name!r} points out of the folder, or is a link")
        place = folder / name
        if member.isdir():
            place.mkdir(parents=True, exist_ok=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        with open(place, "wb") as handle:
            shutil.copyfileobj(content, handle)
