"""Pictures drawn with matplotlib: figures without a window, names in any script, PNG files."""

import io
import logging
import warnings
from typing import TYPE_CHECKING

from utils.fonts import font_for
from utils.printable import printable_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DOTS_PER_INCH = 110


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure of this size in inches."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # the first picture on a machine logs that it found fonts
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def png_of(figure: "Figure") -> bytes:
    """Return the content of a PNG file. Each text is drawn with fonts of this machine that have its letters."""
    from matplotlib.text import Text

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of letters that are missing as yet
        figure.draw_without_rendering()  # makes the texts of the ticks
    for text in figure.findobj(Text):
        special = "".join(letter for letter in text.get_text() if not letter.isascii())
        if special:
            text.set_fontfamily([*text.get_fontfamily(), *_families_for(special)])
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=_DOTS_PER_INCH)
    return content.getvalue()


def picture_text(text: str) -> str:
    """Return `text` as one line that matplotlib shows as it is: no formulas, question marks for control characters,
    marks of direction and bytes of a file name that are no UTF-8.
    """
    return printable_line(text).replace("$", r"\$")


def _families_for(letters: str) -> list[str]:
    """Names of fonts that have these letters: one for all of them, or else one for each."""
    from matplotlib.font_manager import FontProperties

    files = [file] if (file := font_for(letters)) else [font_for(letter) for letter in letters]
    return list(dict.fromkeys(FontProperties(fname=file).get_name() for file in files if file))
