"""Pictures drawn with matplotlib: figures without a window, names in them as they are, PNG files."""

import io
import logging
from typing import TYPE_CHECKING

from utils.fonts import font_for

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DOTS_PER_INCH = 110
_MOST_FAMILIES = 6  # in which letters are looked for; each is read


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure of this size in inches."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # the first picture on a machine logs that it found fonts
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def png_of(figure: "Figure") -> bytes:
    """Return the content of a PNG file."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=_DOTS_PER_INCH)
    return content.getvalue()


def picture_text(text: str) -> str:
    """Return `text` as matplotlib shows it as it is: no formulas, bytes of a file name that are no UTF-8 as question
    marks. Texts made after it find a font of this machine that has its letters, if there is one.
    """
    shown = text.encode("utf-8", "replace").decode("utf-8")
    special = "".join(letter for letter in shown if not letter.isascii())
    if special and (file := font_for(special)):
        from matplotlib import rcParams
        from matplotlib.font_manager import FontProperties

        family = FontProperties(fname=file).get_name()
        if family not in rcParams["font.sans-serif"]:
            rcParams["font.sans-serif"] = [rcParams["font.sans-serif"][0], family, *rcParams["font.sans-serif"][1:]]
            rcParams["font.family"] = rcParams["font.sans-serif"][:_MOST_FAMILIES]
    return shown.replace("$", r"\$")
