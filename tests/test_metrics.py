"""Top-k, sums over views, and the accuracies of a report, against counting by hand."""

import dataclasses

import numpy as np
import pytest

from metrics.classes import class_accuracies, confusion_matrix, mean_class_accuracy
from metrics.multi_view import MultiViewScores, VideoScores
from metrics.report import measure_accuracy
from metrics.topk import top_classes, top_k_hits


def test_top_classes_of_ties_are_the_lower_index_first():
    assert top_classes(np.array([0.2, 0.4, 0.4, 0.0]), 3).tolist() == [1, 2, 0]


def test_top_classes_of_fewer_classes_than_k():
    assert top_classes(np.array([[0.2, 0.8]]), 5).tolist() == [[1, 0]]


def test_top_k_hits():
    scores = np.array([[0.1, 0.5, 0.4], [0.6, 0.3, 0.1], [0.2, 0.3, 0.5]])
    labels = np.array([2, 0, 0])
    assert top_k_hits(scores, labels, 1).tolist() == [False, True, False]
    assert top_k_hits(scores, labels, 2).tolist() == [True, True, False]


def test_sums_over_views_in_any_portions():
    random = np.random.default_rng(0)
    views = random.random((3, 6, 5)).astype(np.float32)
    scores = MultiViewScores(3, 6, 5)
    for video in (2, 0, 1):
        scores.add(video, views[video, :4])
        scores.add(video, views[video, 4:], first_view=4)
    np.testing.assert_allclose(scores.compute(), views.astype(np.float64).mean(axis=1), rtol=1e-6)


def test_a_view_counts_once():
    scores = MultiViewScores(1, 2, 2)
    scores.add(0, np.array([[0.9, 0.1]]))
    scores.add(0, np.array([[0.9, 0.1], [0.2, 0.8]]))
    np.testing.assert_allclose(scores.compute(), [[0.55, 0.45]])


def test_missing_views_are_refused_unless_the_video_is_known_to_be_unreadable():
    scores = MultiViewScores(2, 2, 2)
    scores.add(0, np.ones((2, 2)) / 2)
    scores.add(1, np.ones((1, 2)) / 2)
    with pytest.raises(ValueError, match="1 videos lack views, the first is video 1"):
        scores.compute()
    means = scores.compute(unreadable=[1])
    assert np.isnan(means[1]).all()
    assert not np.isnan(means[0]).any()


def test_accuracy_counts_scored_videos_only():
    probabilities = np.array([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2], [np.nan] * 3, [0.3, 0.4, 0.3]])
    accuracy = measure_accuracy(
        probabilities, np.array([2, 1, 0, 1]), view_hits=np.array([3, 0, 0, 2]), views_per_video=3
    )
    assert accuracy.top1 == pytest.approx(2 / 3)
    assert accuracy.top5 is None, "of three classes it would always be 1"
    assert accuracy.clip_top1 == pytest.approx(5 / 9)
    assert (accuracy.num_videos, accuracy.num_scored) == (4, 3)
    assert "3 of 4" in accuracy.lines()[0]


def test_top5_is_shown_for_more_than_five_classes():
    """Six classes: the label of the second video is the least likely."""
    probabilities = np.array([[0.1, 0.2, 0.3, 0.15, 0.15, 0.1], [0.0, 0.3, 0.3, 0.2, 0.1, 0.1]])
    accuracy = measure_accuracy(probabilities, np.array([3, 0]), view_hits=None, views_per_video=0)
    assert accuracy.top5 == 0.5
    assert "top-5           50.00 %" in accuracy.lines()
    five = measure_accuracy(probabilities[:, :5], np.array([3, 0]), view_hits=None, views_per_video=0)
    assert not any("top-5" in line for line in five.lines())


def test_accuracy_of_classes_by_hand():
    """Class 0: two of three right, one taken for 2; class 1: one unscored; class 2: none of one."""
    one_hot = np.eye(3)
    probabilities = np.stack([one_hot[0], one_hot[0], one_hot[2], np.full(3, np.nan), one_hot[1]])
    labels = np.array([0, 0, 0, 1, 2])
    confusion = confusion_matrix(probabilities, labels)
    assert confusion.tolist() == [[2, 0, 1], [0, 0, 0], [0, 1, 0]]
    rows = class_accuracies(confusion, labels)
    assert [(row.label, row.num_videos, row.num_scored) for row in rows] == [(0, 3, 3), (1, 1, 0), (2, 1, 1)]
    assert [row.top1 for row in rows] == [pytest.approx(2 / 3), None, 0]
    assert [(row.confused_with, row.times_confused) for row in rows] == [(2, 1), (None, 0), (1, 1)]
    assert mean_class_accuracy(rows) == pytest.approx(1 / 3)
    accuracy = measure_accuracy(probabilities, labels, view_hits=np.zeros(5), views_per_video=1)
    assert accuracy.mean_class_top1 == pytest.approx(1 / 3)
    assert accuracy.top1_of_all == pytest.approx(2 / 5)
    assert accuracy.lines()[-1].split() == [
        "top-1",
        "of",
        "all",
        "40.00",
        "%",
        "(unscored",
        "videos",
        "counted",
        "as",
        "wrong)",
    ]


def test_accuracy_of_nothing():
    accuracy = measure_accuracy(np.full((1, 3), np.nan), np.array([0]), view_hits=np.array([0]), views_per_video=3)
    assert accuracy.top1 is None
    assert accuracy.lines()[1].endswith("-")


def test_scores_of_a_video_that_was_scored_before_are_taken_over():
    scores = MultiViewScores(3, 2, 2)
    scores.put(VideoScores(1, np.array([1.5, 0.5]), hits=2))
    assert scores.complete().tolist() == [False, True, False]
    scores.add(1, np.array([[9.0, 9.0], [9.0, 9.0]]))
    np.testing.assert_array_equal(scores.compute(unreadable=[0, 2])[1], [0.75, 0.25])


def test_scores_of_several_processes_are_put_together():
    """What is shown are the videos with a view; what the taker knows already stays."""
    first, second = MultiViewScores(4, 2, 2), MultiViewScores(4, 2, 2)
    first.add(0, np.array([[0.9, 0.1], [0.7, 0.3]]))
    second.add(2, np.array([[0.2, 0.8], [0.4, 0.6]]))
    second.add(3, np.array([[0.5, 0.5]]))
    second.add(0, np.array([[0.0, 1.0], [0.0, 1.0]]))
    videos, sums, seen = second.shown()
    assert videos.tolist() == [0, 2, 3]
    np.testing.assert_allclose(sums, [[0, 2], [0.6, 1.4], [0.5, 0.5]])
    assert seen.tolist() == [[True, True], [True, True], [True, False]]
    first.add_shown((videos, sums, seen))
    np.testing.assert_allclose(first.combined, [[1.6, 0.4], [0, 0], [0.6, 1.4], [0.5, 0.5]])
    assert first.seen.tolist() == [[True, True], [False, False], [True, True], [True, False]]
    with pytest.raises(ValueError, match=r"^2 videos lack views, the first is video 1$"):
        first.compute()


def test_the_lines_for_the_screen():
    one_hot = np.eye(6)
    probabilities = np.stack([one_hot[0], one_hot[1], np.full(6, np.nan)])
    labels = np.array([0, 0, 1])
    accuracy = measure_accuracy(probabilities, labels, view_hits=np.array([2, 0, 0]), views_per_video=4)
    assert accuracy.lines() == [
        "videos scored   2 of 3, 4 views each",
        "top-1           50.00 %",
        "top-5           100.00 %",
        "mean class      50.00 %   (top-1, every class counts the same)",
        "clip top-1      25.00 %   (single views)",
        "top-1 of all    33.33 %   (unscored videos counted as wrong)",
    ]
    whole = measure_accuracy(probabilities[:2, :3], labels[:2], view_hits=np.array([1, 0]), views_per_video=1)
    assert whole.lines() == [
        "videos scored   2 of 2, 1 view each",
        "top-1           50.00 %",
        "mean class      50.00 %   (top-1, every class counts the same)",
        "clip top-1      50.00 %   (single views)",
    ]
    merged = measure_accuracy(probabilities[:2], labels[:2], view_hits=None, views_per_video=0)
    assert merged.lines()[0] == "videos scored   2 of 2"
    assert not any("clip" in line for line in merged.lines())
    nothing = measure_accuracy(probabilities[2:], labels[2:], view_hits=np.array([0]), views_per_video=4)
    assert nothing.lines()[1] == "top-1           -"


@pytest.mark.parametrize(
    ("result", "field"),
    [
        (VideoScores(0, np.zeros(2), 0), "hits"),
        (measure_accuracy(np.eye(2), np.arange(2), view_hits=None, views_per_video=0), "top1"),
        (class_accuracies(np.eye(2, dtype=np.int64), np.arange(2))[0], "top1"),
    ],
)
def test_results_cannot_be_changed(result, field):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(result, field, 1)
