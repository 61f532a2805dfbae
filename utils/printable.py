"""Text of strangers (names of files and classes) made neutral: on a terminal, in a picture, in a table."""

import unicodedata

_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # Unicode's categories: control, format, surrogate, line, paragraph
_JOINERS = "\u200c\u200d"  # format characters that Persian, Hindi and emoji are written with
_FORMULA_STARTS = ("=", "+", "-", "@")


def is_hidden(character: str) -> bool:
    """Whether it is seen by what it does, not by itself."""
    return unicodedata.category(character) in _HIDDEN and character not in _JOINERS


def printable(text: str) -> str:
    r"""Return `text` with a question mark for each control character, mark of direction and the like.

    Ends of lines and tabs stay, and the bytes of a file name that are no UTF-8: Python shows them escaped.

    >>> printable("a\x1b[2Jb\u202ec\n"), printable("跳 é")
    ('a?[2Jb?c\n', '跳 é')
    """
    if text.isprintable():
        return text
    return "".join("?" if is_hidden(c) and c not in "\n\t" and not "\udc80" <= c <= "\udcff" else c for c in text)


def printable_line(text: str) -> str:
    r"""Return `text` as one line: as `printable`, with single blanks, and question marks for bytes that are no UTF-8.

    >>> printable_line(" a\n\tb\udcff ")
    'a b?'
    """
    return printable(" ".join(text.split())).encode("utf-8", "replace").decode("utf-8")


def table_cell(text: str) -> str:
    """Return `text`, `printable`, for a cell of a csv table: none begins a formula in a spreadsheet program.

    >>> table_cell("=1+1"), table_cell("jump"), table_cell("-0.5")
    ("'=1+1", 'jump', '-0.5')
    """
    text = printable(text)
    if not text.lstrip().startswith(_FORMULA_STARTS):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text
