"""Fonts that have the letters of a text, in any script: the one that matplotlib brings, then those of the machine."""

import contextlib
import functools
import logging


def font_for(text: str) -> str | None:
    """Return the file of a font that has all letters of `text`; None if this machine has none."""
    letters = frozenset(ord(letter) for letter in text if not letter.isspace())
    known = next((file for file in _files() if letters <= _letters_of(file)), None)
    return known or next((file for file in _new_files() if letters <= _letters_of(file)), None)


@functools.cache
def _files() -> tuple[str, ...]:
    """The upright sans-serif fonts first, that of matplotlib before all."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it logs that it found fonts
    from matplotlib import font_manager

    own = font_manager.findfont("DejaVu Sans")
    entries = sorted(
        font_manager.fontManager.ttflist,
        key=lambda entry: (entry.style != "normal", "sans" not in entry.name.lower(), str(entry.weight) != "400"),
    )
    drawn = [entry.fname for entry in entries if "Last Resort" not in entry.name]  # which has a box for every letter
    return tuple(dict.fromkeys([own, *drawn]))


@functools.cache
def _new_files() -> tuple[str, ...]:
    """Fonts installed since matplotlib listed those of the machine; from now on it knows them."""
    from matplotlib import font_manager

    found = []
    for file in sorted({*font_manager.findSystemFonts()} - {entry.fname for entry in font_manager.fontManager.ttflist}):
        with contextlib.suppress(OSError, RuntimeError):  # a font that FreeType cannot read
            font_manager.fontManager.addfont(file)
            found.append(file)
    return tuple(found)


@functools.lru_cache(maxsize=64)
def _letters_of(file: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(file).get_charmap())
    except (OSError, RuntimeError):  # a font that FreeType cannot read
        return frozenset()
