"""Text files that people write: read whole, so not without bound."""

import errno
from pathlib import Path

_MOST_BYTES = 64 << 20


def read_text(path: str | Path, *, errors: str = "strict") -> str:
    """Return the text of a file in UTF-8, with or without a byte order mark, and with ``\\n`` at the ends of its lines.

    Args:
        errors: what becomes of bytes that are not UTF-8, as for `bytes.decode`.

    Raises:
        OSError: it cannot be read, or is larger than any text of its kind: a video, perhaps, or weights.
        UnicodeDecodeError: it is not in UTF-8.
    """
    with open(path, "rb") as handle:
        content = handle.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise OSError(errno.EFBIG, f"larger than {_MOST_BYTES >> 20} MB: is it a text file?", str(path))
    return content.decode("utf-8-sig", errors).replace("\r\n", "\n").replace("\r", "\n")
