"""Pictures drawn with matplotlib: figures without a window, names in them as they are, PNG files."""

import io
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DOTS_PER_INCH = 110


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
    marks.
    """
    return text.encode("utf-8", "replace").decode("utf-8").replace("$", r"\$")
