"""Labels as they stand in lists: one class number, or, where videos have several labels, the numbers of a set.

Legend: N videos, K classes.
"""

import re
from collections.abc import Iterator, Sequence

import numpy as np

NO_LABEL = -1
_LONGEST_LABEL = 18  # digits
_SEPARATORS = re.compile(r"[,;\s]+")


def is_label_text(text: str) -> bool:
    """Whether a text is a class number, or a set of them: numbers between commas, or '-' for none.

    >>> [is_label_text(text) for text in ("17", "3,17,42", "-", "a3", "3,")]
    [True, True, True, False, False]
    """
    return text == "-" or all(map(is_integer, text.split(",")))


def is_set(text: str) -> bool:
    """Whether a text names several class numbers, or with '-' none.

    >>> is_set("3,17"), is_set("3 17"), is_set("-"), is_set("3"), is_set("0.0")
    (True, True, True, False, False)
    """
    try:
        return not is_integer(text) and len(parse_label_set(text)) != 1
    except ValueError:
        return False


def is_integer(text: str) -> bool:
    """Whether a text is a whole number."""
    return text.removeprefix("-").isdecimal()


def parse_label(text: str) -> int:
    """Return the number in a text that `is_integer`.

    Raises:
        ValueError: it is too long.
    """
    if len(text) > _LONGEST_LABEL:
        raise ValueError(f"label ({text[:20]}...) must be a class number")
    return int(text)


def parse_label_set(text: str) -> tuple[int, ...]:
    """Return the class numbers in a text, in ascending order.

    >>> parse_label_set("17,3"), parse_label_set("-"), parse_label_set("3; 17 42")
    ((3, 17), (), (3, 17, 42))

    Raises:
        ValueError: something in it is no class number, or stands there twice.
    """
    parts = [] if text.strip() in ("-", "") else _SEPARATORS.split(text.strip())
    if not all(map(is_integer, parts)):
        raise ValueError(f"labels ({text[:60]}) must be class numbers between commas, or '-' for none")
    labels = sorted(map(parse_label, parts))
    if len(set(labels)) < len(labels):
        raise ValueError(f"labels ({text[:60]}) name a class twice")
    return tuple(labels)


def label_matrix(sets: Sequence[Sequence[int]], num_classes: int) -> np.ndarray:
    """Return the sets as uint8 (N, K): 1 where a video has a label."""
    matrix = np.zeros((len(sets), num_classes), np.uint8)
    for row, labels in zip(matrix, sets, strict=True):
        row[list(labels)] = 1
    return matrix


def labels_of(row: np.integer | np.ndarray) -> tuple[int, ...]:
    """Return the labels of a video: of its element of int64 (N,), or its row of uint8 (N, K)."""
    if np.ndim(row):
        return tuple(np.flatnonzero(row).tolist())
    return () if row == NO_LABEL else (int(row),)


def label_texts(labels: np.ndarray) -> Iterator[str]:
    """Yield for each video what stands in a list: int64 (N,), or uint8 (N, K); empty where a label is not known."""
    if labels.ndim == 1:
        yield from ("" if label == NO_LABEL else str(label) for label in labels.tolist())
    else:
        yield from (",".join(map(str, np.flatnonzero(row).tolist())) or "-" for row in labels)


def classes_present(labels: np.ndarray) -> np.ndarray:
    """Return the classes that at least one video has, ascending: of int64 (N,), or uint8 (N, K)."""
    if labels.ndim == 2:
        return np.flatnonzero(labels.any(axis=0))
    return np.unique(labels[labels != NO_LABEL])


def videos_by_class(labels: np.ndarray) -> list[np.ndarray]:
    """Return the indices of the videos of each class that has any; videos without a label are a class of their own."""
    if labels.ndim == 1:
        return [np.flatnonzero(labels == label) for label in np.unique(labels)]
    groups = [np.flatnonzero(labels[:, label]) for label in classes_present(labels)]
    without = np.flatnonzero(~labels.any(axis=1))
    return [*groups, without] if len(without) else groups
