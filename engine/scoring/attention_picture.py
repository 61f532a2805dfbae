"""Attention drawn as in figure 3 of the paper: frames side by side, arrows from a position to what it attends to."""

import numpy as np

from engine.scoring.attention import BlockAttention, Query
from utils.pictures import new_figure, picture_text, png_of

_GAP = 4  # pixels between frames
_INCHES = 1.9  # width of a frame


def block_picture(view: np.ndarray, block: BlockAttention, *, top: int, title: str) -> bytes:
    """Return a PNG file with the queries of a block, a row for each, over the frames of the view that its frames stand
    for.

    Args:
        view: uint8 (3, T, H, W), RGB.
        top: arrows of each query, to its largest weights.
    """
    num_frames = block.size[0]
    frames = view[:, list(block.frames)].transpose(1, 2, 3, 0)  # (T', H, W, 3)
    height, width = frames.shape[1:3]
    strip = np.full((height, num_frames * (width + _GAP) - _GAP, 3), 255, np.uint8)
    for number, frame in enumerate(frames):
        strip[:, number * (width + _GAP) : number * (width + _GAP) + width] = frame
    size = (_INCHES * num_frames, (_INCHES * height / width + 0.25) * len(block.queries) + 0.4)
    figure = new_figure(*size)
    figure.suptitle(picture_text(title), fontsize=9)
    for axes, query in zip(figure.subplots(len(block.queries), 1, squeeze=False)[:, 0], block.queries, strict=True):
        axes.imshow(strip, interpolation="nearest")
        axes.set_axis_off()
        axes.set_title(
            f"{block.name}, frame {query.frame}, row {query.row}, column {query.column} of {block.size}; "
            f"adds {100 * query.strength:.0f} % of the mean feature",
            fontsize=7,
        )
        _draw_arrows(axes, query, block.size, (height, width), top)
    return png_of(figure)


def strongest_keys(query: Query, top: int) -> list[tuple[int, int, int, float]]:
    """Return (frame, row, column, weight) of the `top` largest weights, largest first. Weights of 0 are left out."""
    flat = np.argsort(-query.weights, axis=None, kind="stable")[:top]
    places = np.stack(np.unravel_index(flat, query.weights.shape), axis=1).tolist()
    found = [(*place, float(query.weights[tuple(place)])) for place in places]
    return [key for key in found if key[3] > 0]


def _draw_arrows(axes: object, query: Query, size: tuple[int, int, int], frame: tuple[int, int], top: int) -> None:
    height, width = frame
    rows, columns = size[1:]
    pooled = 2 if query.weights.shape[1] < rows else 1  # a key stands for 2 x 2 positions

    def pixel(number: int, row: float, column: float) -> tuple[float, float]:
        """Return the pixel at the centre of a position of the map."""
        return number * (width + _GAP) + (column + 0.5) * width / columns, (row + 0.5) * height / rows

    start = pixel(query.frame, query.row, query.column)
    keys = strongest_keys(query, top)
    largest = keys[0][3] if keys else 1.0
    for number, row, column, weight in reversed(keys):
        end = pixel(number, (row + 0.5) * pooled - 0.5, (column + 0.5) * pooled - 0.5)
        share = weight / largest
        axes.annotate(
            "",
            xy=end,
            xytext=start,
            arrowprops={
                "arrowstyle": "-|>",
                "color": (1.0, 0.85, 0.1, 0.35 + 0.65 * share),
                "linewidth": 0.6 + 0.9 * share,
                "mutation_scale": 7,
                "shrinkA": 0,
                "shrinkB": 0,
            },
        )
    axes.plot(*start, marker="o", markersize=6, color="red", markeredgecolor="white", markeredgewidth=0.8, zorder=5)
