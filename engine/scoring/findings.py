"""What a test found, in the form in which it is written: JSON, tables, and the parts of the page."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

Table = tuple[Sequence[Any], Iterable[Iterable[Any]]]  # header, rows


class Tile(NamedTuple):
    """A number at the top of the page."""

    value: str
    caption: str
    is_bad: bool = False


@dataclass(frozen=True)
class Findings:
    """What there is to write of the videos of a list.

    Args:
        json: for ``results.json``.
        tables: by the name of the csv file.
        tiles: numbers at the top of the page.
        template: of the page.
        page: what the template shows, by the names that it uses.
        shown: indices of the videos whose frames the page shows.
    """

    json: dict[str, Any]
    tables: dict[str, Table]
    tiles: list[Tile]
    template: str
    page: dict[str, Any]
    shown: list[int]


def namer(class_names: Sequence[str]) -> Callable[[int], str]:
    """Return what the page calls a class: its number and its name, if names are known."""
    return lambda label: f"{label} {class_names[label]}" if class_names else f"class {label}"


def scored_tile(num_scored: int, num_videos: int, views_per_video: int) -> Tile:
    """Return the tile that says how many videos were scored."""
    views = f", {views_per_video} view{'s' * (views_per_video > 1)} each" if views_per_video else ""
    return Tile(f"{num_scored} of {num_videos}", f"videos scored{views}")
