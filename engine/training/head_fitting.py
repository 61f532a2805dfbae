"""Fits a linear head to the features of labelled videos, and judges it by videos that it was not fitted to.

Legend: n videos, V views, C features, K classes.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

import numpy as np

from datareader.filelist import FileList
from datareader.label_text import classes_present, labels_of
from engine.training.linear_head import LinearHead, fit_linear_heads
from engine.training.losses import positive_weights
from metrics.measures import Measures, mean_loss, measure
from utils.errors import FileListError
from utils.logging import get_logger
from utils.seeding import generator

PENALTIES = tuple(10.0**power for power in range(1, -5, -1))  # those that are tried, the strongest first
_FOLDS = 5


@dataclass(frozen=True)
class Examples:
    """Videos whose features are known.

    Args:
        paths: as listed, n of them.
        features: float32 (n, V, C).
        labels: int64 (n,), or uint8 (n, K) where videos have several.
        contents: what tells videos apart, whatever their names; segments of one have the same. Empty: the paths do.
    """

    paths: list[str]
    features: np.ndarray
    labels: np.ndarray
    contents: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class HeadOptions:
    """How the head is fitted.

    Args:
        penalty: of the squared weights; None: the one of `PENALTIES` with the smallest loss on videos not fitted to.
        class_weights: 'balanced': every class counts the same, whatever its number of videos; with several labels, of
            each class the videos that have it count as much as those that do not.
        groups: pattern; videos in whose paths it finds the same are kept together where folds are made.
    """

    penalty: float | None = None
    class_weights: Literal["none", "balanced"] = "none"
    groups: str = ""


@dataclass(frozen=True)
class Fitted:
    """A fitted head.

    Args:
        penalty: the one that was chosen.
        losses: by penalty the cross-entropy, see `mean_loss`, of the videos that were not fitted to.
        measures: of these videos.
        chance: what a head that knows nothing reaches in the main measure.
    """

    head: LinearHead
    penalty: float
    losses: dict[float, float]
    measures: Measures
    chance: float


def examples_of(videos: FileList, features: Sequence[np.ndarray | None], contents: Sequence[str] = ()) -> Examples:
    """Join a labelled list, its features and contents; videos that could not be read are left out.

    Raises:
        FileListError: none could be read.
    """
    good = [index for index, found in enumerate(features) if found is not None]
    if not good:
        raise FileListError(f"{videos.source}: no video could be read")
    if len(good) < len(features):
        get_logger().warning(
            "%s: %d of %d videos could not be read, and are left out", videos.source, len(features) - len(good),
            len(features),
        )  # fmt: skip
    paths = [videos.paths[index] for index in good]
    known = [contents[index] for index in good] if contents else []
    return Examples(paths, np.stack([features[index] for index in good]), videos.labels[good], known)


def fit(train: Examples, valid: Examples | None, *, num_classes: int, options: HeadOptions, seed: int) -> Fitted:
    """Fit a head to the views of `train`, and judge it by videos that it was not fitted to.

    Those are the videos of `valid`; or, without it, those of `train`, each by a head that is fitted to the other folds.
    The penalty is chosen by the same videos, so their accuracy flatters a little.

    Raises:
        FileListError: `valid` has no class of `train`; without `valid`, the videos of `train` are all of one group.
    """
    penalties = PENALTIES if options.penalty is None else (options.penalty,)

    def heads(examples: Examples) -> Iterator[LinearHead]:
        return _heads(examples, penalties, num_classes=num_classes, options=options)

    if valid is not None and not set(classes_present(valid.labels)) & set(classes_present(train.labels)):
        raise FileListError("no video of --valid is of a class of --train")
    if valid is not None:
        every = list(heads(train))
        answers, labels = [_answers(head, valid) for head in every], valid.labels
        is_judged = _fitted_to(labels, train.labels)
    else:
        folds = folds_of(train, options.groups, seed)
        answers, labels = _cross_validated(train, heads, folds, len(penalties)), train.labels
        is_judged = _fitted_to_elsewhere(labels, folds)
    losses = [mean_loss(*_judged(found, labels, is_judged)) for found in answers]
    best = int(np.argmin(losses))  # of equals the strongest penalty
    head = every[best] if valid is not None else next(islice(heads(train), best, None))
    found = (answers[best], labels) if valid is not None else _judged(answers[best], labels, is_judged)
    return Fitted(
        head,
        penalties[best],
        dict(zip(penalties, losses, strict=True)),
        measure(*found, with_intervals=True),
        _chance(found[1], num_classes),
    )


def _fitted_to(labels: np.ndarray, trained: np.ndarray) -> np.ndarray:
    """Which videos, bool (n,), have a class of the training list; with several labels which classes, bool (K,)."""
    return trained.any(axis=0) if labels.ndim == 2 else np.isin(labels, trained)


def _fitted_to_elsewhere(labels: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Which videos have their class in another fold too, bool (n,): the others cannot be judged.

    With several labels: which classes have videos in two folds, bool (K,).

    Raises:
        FileListError: none.
    """
    if labels.ndim == 2:
        found = np.array([len(set(folds[labels[:, label] > 0].tolist())) > 1 for label in range(labels.shape[1])])
        num_lost, which = int((labels.any(axis=0) & ~found).sum()), "classes of --train are not judged: no other group"
    else:
        pairs = zip(labels, folds, strict=True)
        found = np.array([((labels == label) & (folds != fold)).any() for label, fold in pairs])
        num_lost, which = int((~found).sum()), "videos of --train are not judged: no other group"
    if not found.any():
        raise FileListError("no class of --train has videos in two groups: give more videos, or --valid")
    if num_lost:
        get_logger().warning("%d %s has videos of their class", num_lost, which)
    return found


def _judged(answers: np.ndarray, labels: np.ndarray, is_judged: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The answers and labels that can be judged: of some videos, or, with several labels, of some classes."""
    return (
        (answers[:, is_judged], labels[:, is_judged]) if labels.ndim == 2 else (answers[is_judged], labels[is_judged])
    )


def _chance(labels: np.ndarray, num_classes: int) -> float:
    """The share of right answers, or with several labels the mAP, of random scores: the share of a class's videos."""
    return float(labels[:, labels.any(axis=0)].mean()) if labels.ndim == 2 else 1 / num_classes


def _heads(
    examples: Examples, penalties: Sequence[float], *, num_classes: int, options: HeadOptions
) -> Iterator[LinearHead]:
    num_views, labels = examples.features.shape[1], examples.labels
    weights = np.ones(labels.shape)
    if options.class_weights == "balanced" and labels.ndim == 2:
        weights = np.where(labels, positive_weights(labels), 1.0)
    elif options.class_weights == "balanced":
        weights = 1 / np.bincount(labels, minlength=num_classes)[labels]
    rows = examples.features.reshape(-1, examples.features.shape[-1])
    labels, weights = (np.repeat(values, num_views, axis=0) for values in (labels, weights))
    return fit_linear_heads(rows, labels, weights, num_classes=num_classes, penalties=penalties)


def _answers(head: LinearHead, examples: Examples) -> np.ndarray:
    """Probabilities (n, K): means over the views, as in a test."""
    return head.probabilities(examples.features).mean(axis=1)


def _cross_validated(
    train: Examples, heads: Callable[[Examples], Iterator[LinearHead]], folds: np.ndarray, count: int
) -> list[np.ndarray]:
    """For each penalty the answers for all videos, each by a head fitted to the other folds."""
    answers: list[Any] = [None] * count
    for fold in np.unique(folds):
        inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        for number, head in enumerate(heads(_part(train, inside))):
            found = _answers(head, _part(train, outside))
            if answers[number] is None:
                answers[number] = np.empty((len(folds), found.shape[1]))
            answers[number][outside] = found
    return answers


def _part(examples: Examples, indices: np.ndarray) -> Examples:
    return Examples([examples.paths[i] for i in indices], examples.features[indices], examples.labels[indices])


def folds_of(examples: Examples, pattern: str, seed: int) -> np.ndarray:
    """Return a fold for each video, int64 (n,). Videos of a group are in one fold, and classes are spread over all.

    Without a pattern a video is a group of its own, with all its segments, under whatever names it is listed.

    Raises:
        FileListError: there is one group only.
    """
    groups = group_names(examples.paths, pattern) if pattern else examples.contents or examples.paths
    names = sorted(set(groups))
    if pattern:
        alone = [path for path in examples.paths if re.search(pattern, path) is None]
        if len(alone) == len(examples.paths):
            raise FileListError(f"--groups {pattern!r}: found in no path of --train; the first is {alone[0]}")
        get_logger().info("--groups %r: %d groups, %d videos in none", pattern, len(names) - len(alone), len(alone))
    if len(names) < 2:
        raise FileListError("without --valid the videos of --train must be of two groups at least, to judge the head")
    members = {name: [index for index, group in enumerate(groups) if group == name] for name in names}
    folds = np.empty(len(groups), np.int64)
    classes_of = [labels_of(row) for row in examples.labels]
    counts = np.zeros((min(_FOLDS, len(names)), max(max(classes, default=0) for classes in classes_of) + 1))
    shuffled = [names[index] for index in generator(seed).permutation(len(names))]
    for name in sorted(shuffled, key=lambda name: -len(members[name])):  # the large ones first
        labels = [label for index in members[name] for label in classes_of[index]]
        fold = min(range(len(counts)), key=lambda fold: (counts[fold, labels].sum(), counts[fold].sum()))
        folds[members[name]] = fold
        np.add.at(counts[fold], labels, 1)
    return folds


def group_names(paths: Sequence[str], pattern: str) -> list[str]:
    """Return the group of each path: what the pattern finds in it (its first group, if it has one).

    Without a pattern, or where it finds nothing, a video is a group of its own.

    >>> group_names(["take1/a.mp4", "take1/b.mp4", "x.mp4"], r"(take\\d+)/")
    ['take1', 'take1', 'x.mp4']
    """
    found = [re.search(pattern, path) if pattern else None for path in paths]
    return [
        path if match is None else (match[1] if match.re.groups else match[0]) or path
        for match, path in zip(found, paths, strict=True)
    ]
