"""What somebody may have meant by a name that does not exist."""

import difflib
from collections.abc import Iterable

_MOST_LISTED = 12


def nearest(name: str, known: Iterable[str]) -> str:
    """Words for the end of a message: the known name that is nearest, or the known names if they are few.

    Near is a similar spelling, the initials of the words, or a part of the name.

    >>> nearest("num_clases", ["num_classes", "depth"]), nearest("lr", ["momentum", "learning_rate"])
    ('; did you mean num_classes?', '; did you mean learning_rate?')
    >>> nearest("--lr", ["--help", "--learning_rate"]), nearest("x", ["momentum", "depth"])
    ('; did you mean --learning_rate?', '; known: momentum, depth')
    """
    plain = {other.lstrip("-").lower(): other for other in known}
    wanted = name.lstrip("-").lower()
    close = difflib.get_close_matches(wanted, plain, n=1, cutoff=0.6)
    if not close and len(wanted) > 1:
        close = [other for other in plain if _initials(other).startswith(wanted)]
        close = close or [other for other in plain if wanted in other and len(wanted) > 2]
        close = close or difflib.get_close_matches(wanted, plain, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {plain[min(close, key=len)]}?"
    return f"; known: {', '.join(plain.values())}" if len(plain) <= _MOST_LISTED else ""


def _initials(name: str) -> str:
    return "".join(word[:1] for word in name.replace("-", "_").split("_"))
