"""Shares videos among splits or folds, as a function of the seed alone.

Without groups every class is shared at random. With groups (a person, a scene, a source video) the videos of a group
stay together, and groups are shared so that every class comes as near to its shares as they allow.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from datareader.class_folders import Video
from utils.errors import FileListError
from utils.seeding import generator


def split_classes(videos: list[Video], *, val: float, test: float, seed: int) -> dict[str, list[Video]]:
    """Share the videos of every class among train, val and test.

    Raises:
        FileListError: the shares are no shares, or leave a class without training videos.
    """
    _require_shares(val, test)
    splits: dict[str, list[Video]] = {"train": [], "val": [], "test": []}
    for number, (class_name, members) in enumerate(sorted(_by_class(videos).items())):
        order = generator(seed, number).permutation(len(members))
        num_val, num_test = round(len(members) * val), round(len(members) * test)
        if num_val + num_test >= len(members):
            raise FileListError(f"class {class_name} has {len(members)} videos: too few for --val {val}, --test {test}")
        bounds = np.split(order, [num_val, num_val + num_test])
        for split, chosen in zip(("val", "test", "train"), bounds, strict=True):
            splits[split] += [members[i] for i in sorted(chosen)]
    return splits


def split_groups(
    videos: list[Video], groups: Sequence[str], *, val: float, test: float, seed: int
) -> dict[str, list[Video]]:
    """Share whole groups among train, val and test.

    Raises:
        FileListError: the shares are no shares.
    """
    _require_shares(val, test)
    names = ("train", "val", "test")
    parts = _share_groups(videos, groups, [1 - val - test, val, test], seed)
    return {name: [video for video, part in zip(videos, parts, strict=True) if names[part] == name] for name in names}


def folds(videos: list[Video], groups: Sequence[str] | None, *, count: int, seed: int) -> list[dict[str, list[Video]]]:
    """Return `count` splits into train and val. Every video is in val once, and every class is spread evenly over them.

    Args:
        groups: of the videos; None: every video is one of its own.

    Raises:
        FileListError: fewer than 2 folds, or more than there are groups.
    """
    groups = [str(number) for number in range(len(videos))] if groups is None else groups
    if not 2 <= count <= len(set(groups)):
        raise FileListError(
            f"--folds ({count}) must be at least 2, and at most the number of groups, {len(set(groups))}"
        )
    parts = _share_groups(videos, groups, [1 / count] * count, seed)
    return [
        {
            "train": [video for video, part in zip(videos, parts, strict=True) if part != fold],
            "val": [video for video, part in zip(videos, parts, strict=True) if part == fold],
            "test": [],
        }
        for fold in range(count)
    ]


def _share_groups(videos: list[Video], groups: Sequence[str], shares: Sequence[float], seed: int) -> list[int]:
    """The part of each video. Large groups choose first; each goes where its classes lack most."""
    members: dict[str, list[int]] = {}
    for number, group in enumerate(groups):
        members.setdefault(group, []).append(number)
    random = generator(seed)
    names = [sorted(members)[i] for i in random.permutation(len(members))]
    names.sort(key=lambda name: -len(members[name]))  # stable: equal ones stay in random order
    totals = {name: len(of_class) for name, of_class in _by_class(videos).items()}
    held: list[Counter[str]] = [Counter() for _ in shares]
    parts = [0] * len(videos)
    for name in names:
        classes = Counter(videos[number].class_name for number in members[name])

        def lack(part: int, classes: Counter[str] = classes) -> float:
            if not shares[part]:
                return -float("inf")
            # What the part lacks of these classes, as a share of what it should have of them.
            return sum(
                count * (1 - (held[part][class_] + count) / (shares[part] * totals[class_]))
                for class_, count in classes.items()
            )

        best = max(range(len(shares)), key=lambda part: (lack(part), -sum(held[part].values()), -part))
        held[best] += classes
        for number in members[name]:
            parts[number] = best
    return parts


def _by_class(videos: list[Video]) -> dict[str, list[Video]]:
    by_class: dict[str, list[Video]] = {}
    for video in videos:
        by_class.setdefault(video.class_name, []).append(video)
    return by_class


def _require_shares(val: float, test: float) -> None:
    if not (0 <= val < 1 and 0 <= test < 1 and val + test < 1):
        raise FileListError(f"--val ({val}) and --test ({test}) must be shares whose sum is below 1")
