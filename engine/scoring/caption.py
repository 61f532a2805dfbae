"""Draws classes and their probabilities on a picture, in any script."""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from utils.fonts import font_for
from utils.logging import get_logger
from utils.printable import printable_line

if TYPE_CHECKING:
    from engine.scoring.predictor import Prediction

# name, number, probability, whether the video has this label (several labels a video)
Caption = tuple[tuple[str, int, float, bool], ...]

_SHADE = 0.4  # what is left of the picture behind the text
_SMALLEST_LETTERS = 9  # pixels
_BAR, _TRACK, _TEXT, _LABEL = (90, 200, 120), (90, 90, 90), (255, 255, 255), (255, 210, 90)


def draw_caption(picture: np.ndarray, caption: Caption) -> np.ndarray:
    """Return a picture (H, W, 3) with a line for each class at its bottom: a bar, the probability, the name."""
    shade, ink = _panel(picture.shape[1], picture.shape[0], caption)
    drawn = picture.copy()
    below = drawn[len(drawn) - len(ink) :]
    below[:] = np.rint(below * shade + ink)
    return drawn


@functools.lru_cache(maxsize=4)
def _panel(width: int, height: int, caption: Caption) -> tuple[np.ndarray, np.ndarray]:
    """The lines as pixels: what is left of the picture, (h, width, 1), and what is added, (h, width, 3); float32."""
    from PIL import Image, ImageDraw, ImageFont

    letters = max(_SMALLEST_LETTERS, min(width, height) // 16)
    line = round(letters * 1.5)
    image = Image.new("RGBA", (width, min(height, line * len(caption) + letters // 2)))
    canvas = ImageDraw.Draw(image)
    bar = min(width // 5, 6 * letters)
    for number, (name, class_, probability, is_label) in enumerate(caption):
        top = letters // 4 + number * line
        canvas.rectangle((letters // 2, top + line // 4, letters // 2 + bar, top + 3 * line // 4), fill=_TRACK)
        length = round(bar * min(max(probability, 0.0), 1.0))
        if length:
            canvas.rectangle((letters // 2, top + line // 4, letters // 2 + length, top + 3 * line // 4), fill=_BAR)
        text = f"{100 * probability:.0f} %  {drawable_name(name, class_)}"
        font = ImageFont.truetype(font_for(text), letters)
        left, room = bar + letters, width - bar - 3 * letters // 2
        while len(text) > 1 and canvas.textlength(text, font=font) > room:
            text = text.rstrip("…")[:-1] + "…"
        canvas.text((left, top + line // 2), text, font=font, fill=_LABEL if is_label else _TEXT, anchor="lm")
    pixels = np.asarray(image, np.float32)
    opacity = pixels[..., 3:] / 255
    return _SHADE * (1 - opacity), pixels[..., :3] * opacity


def warn_of_lost_names(items: "Sequence[Prediction]", shown_classes: int) -> None:
    """Say which of the names that are shown cannot be drawn."""
    pairs = {pair for item in items for pair in list(zip(item.names, item.classes, strict=True))[:shown_classes]}
    lost = sorted(name for name, class_ in pairs if drawable_name(name, class_) == f"class {class_}" != name)
    if lost:
        get_logger().warning(
            "no font of this machine has the letters of %d names (%s): their numbers are drawn; for Chinese, Japanese "
            "and Korean install fonts-noto-cjk, for others fonts-noto-core", len(lost), ", ".join(lost[:3]),
        )  # fmt: skip


def drawable_name(name: str, class_: int) -> str:
    """Return a name as one line without control characters; ``class 17`` if no font here has its letters."""
    shown = printable_line(name)
    return shown if shown and font_for(f"0 %…{shown}") else f"class {class_}"
