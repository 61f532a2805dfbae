"""Average precision and what is made of it, against loops and scikit-learn; intervals against simulation."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve

from metrics.average_precision import WeightedPrecision, at_threshold, average_precision, best_threshold
from metrics.intervals import bootstrap_interval, class_mean_interval, wilson_interval
from metrics.measures import mean_loss, measure
from metrics.multi_label import class_precisions, map_interval, measure_multi_label
from metrics.multi_view import MultiViewScores, combine_views
from metrics.topk import top_k_hits


def problem(seed, count=40, ties=True):
    """Scores of which some are equal, and which of them are positive, one at least."""
    random = np.random.default_rng(seed)
    scores = random.random(count)
    positive = random.random(count) < 0.3
    positive[random.integers(count)] = True
    return (np.round(scores, 1) if ties else scores), positive


def naive_average_precision(scores, positive):
    """One threshold after the other, from the highest down."""
    total, recall_before = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        found = [p for s, p in zip(scores, positive, strict=True) if s >= threshold]
        precision, recall = sum(found) / len(found), sum(found) / positive.sum()
        total += precision * (recall - recall_before)
        recall_before = recall
    return total


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("ties", [True, False])
def test_average_precision(seed, ties):
    scores, positive = problem(seed, ties=ties)
    found = average_precision(scores, positive)
    assert found == pytest.approx(naive_average_precision(scores, positive), abs=1e-12)
    assert found == pytest.approx(average_precision_score(positive, scores), abs=1e-12)
    order = np.random.default_rng(seed).permutation(len(scores))
    assert average_precision(scores[order], positive[order]) == pytest.approx(found, abs=1e-12)


@pytest.mark.parametrize(
    ("scores", "positive", "expected"),
    [
        ([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0], 5 / 6),
        ([0.9, 0.5, 0.5, 0.1], [0, 1, 0, 0], 1 / 3),
        ([0.5, 0.5], [1, 0], 0.5),
        ([0.1], [1], 1.0),
    ],
)
def test_the_examples_of_average_precision(scores, positive, expected):
    assert average_precision(np.array(scores), np.array(positive, bool)) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(10))
def test_weighted_precision_is_that_of_repeated_videos(seed):
    scores, positive = problem(seed)
    counts = np.random.default_rng(seed).integers(0, 3, len(scores))
    repeated = np.repeat(scores, counts), np.repeat(positive, counts)
    assert WeightedPrecision(scores, positive)(counts) == pytest.approx(average_precision(*repeated))
    assert WeightedPrecision(scores, positive)(np.where(positive, 0, 1)) is None


@pytest.mark.parametrize("seed", range(10))
def test_thresholds(seed):
    """The best has the largest F1 of scikit-learn's curve; at each, precision and recall are counted."""
    scores, positive = problem(seed)
    precision, recall, thresholds = precision_recall_curve(positive, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    best = best_threshold(scores, positive)
    assert best.f1 == pytest.approx(f1.max())
    assert best == at_threshold(scores, positive, best.threshold)
    for threshold in thresholds.tolist():
        found = at_threshold(scores, positive, threshold)
        assert found.precision == np.mean([p for s, p in zip(scores, positive, strict=True) if s >= threshold])
        assert found.recall == np.mean([s >= threshold for s, p in zip(scores, positive, strict=True) if p])
    assert at_threshold(scores, positive, 2.0).precision is None
    assert at_threshold(scores, np.zeros(len(scores), bool), 0.0).recall is None
    assert at_threshold(scores, positive, 2.0).f1 == 0


def several(seed, count=60, classes=5):
    random = np.random.default_rng(seed)
    labels = (random.random((count, classes)) < 0.3).astype(np.uint8)
    probabilities = np.clip(0.3 * labels + random.random((count, classes)) * 0.7, 0, 1)
    return probabilities, labels


def test_measures_of_several_labels():
    """Unscored videos and a class without positives are left out, and counted."""
    probabilities, labels = several(0)
    labels[:, 2] = 0
    probabilities[7] = np.nan
    labels[7] = 1
    found = measure(probabilities, labels, threshold=0.4, views_per_video=3)
    keep = [k for k in range(60) if k != 7]
    wanted = [average_precision_score(labels[keep, k], probabilities[keep, k]) for k in (0, 1, 3, 4)]
    assert found.map == pytest.approx(np.mean(wanted))
    assert (found.num_classes, found.num_left_out, found.num_scored, found.num_videos) == (4, 1, 59, 60)
    given = probabilities[keep] >= 0.4
    assert found.precision == pytest.approx(labels[keep][given].mean())
    assert found.recall == pytest.approx(given[labels[keep] > 0].mean())
    assert found.map_interval is None, "nobody asked"
    assert found.lines()[:2] == [
        "videos scored   59 of 60, 3 views each",
        f"mAP             {100 * found.map:.2f} %   (mean over 4 classes; 1 without a video are left out)",
    ]
    rows = class_precisions(probabilities, labels, threshold=0.4)
    assert [row.average_precision for row in rows if row.average_precision is not None] == pytest.approx(wanted)
    assert (rows[2].average_precision, rows[2].recall, rows[2].best_threshold) == (None, None, None)
    assert rows[0].precision_at_half == at_threshold(probabilities[keep, 0], labels[keep, 0] > 0, 0.5).precision
    nothing = measure(np.full((2, 5), np.nan), labels[:2])
    assert (nothing.map, nothing.num_scored) == (None, 0)
    assert nothing.lines()[1].startswith("mAP             -")


def test_the_losses():
    probabilities, labels = several(3)
    loops = [
        -np.log(p if t else 1 - p)
        for row, truth in zip(probabilities, labels, strict=True)
        for p, t in zip(row, truth, strict=True)
    ]
    assert mean_loss(probabilities, labels) == pytest.approx(np.mean(loops))
    single = np.arange(60) % 5
    wanted = np.mean([-np.log(row[label]) for row, label in zip(probabilities, single, strict=True)])
    assert mean_loss(probabilities, single) == pytest.approx(wanted)
    assert mean_loss(np.full((1, 3), np.nan), np.array([1])) is None


def test_hits_with_several_labels():
    scores = np.array([[0.1, 0.9, 0.3], [0.8, 0.1, 0.2], [0.2, 0.3, 0.9]])
    labels = np.array([[1, 0, 1], [1, 1, 0], [0, 0, 0]], np.uint8)
    assert top_k_hits(scores, labels, 1).tolist() == [False, True, False]
    assert top_k_hits(scores, labels, 2).tolist() == [True, True, False]


@pytest.mark.parametrize("ensemble", ["sum", "max"])
def test_views_are_combined(ensemble):
    """In whatever order and portions they come; one that comes twice counts once."""
    random = np.random.default_rng(1)
    views = random.random((4, 6, 3)).astype(np.float32)
    wanted = views.astype(np.float64).max(axis=1) if ensemble == "max" else views.astype(np.float64).mean(axis=1)
    scores = MultiViewScores(4, 6, 3, ensemble=ensemble)
    for video in (2, 0, 3, 1):
        scores.add(video, views[video, 4:], first_view=4)
        scores.add(video, views[video, :4])
        scores.add(video, views[video, 2:4], first_view=2)
        np.testing.assert_allclose(combine_views(views[video], ensemble), wanted[video])
    np.testing.assert_allclose(scores.compute(), wanted)


def test_wilson_against_its_table():
    """Values of Newcombe, Statistics in Medicine 17 (1998), table I, method 3."""
    for hits, count, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson_interval(hits, count) == pytest.approx((low, high), abs=1e-4)


def test_intervals_hold_what_is_true_about_as_often_as_they_say():
    """Data are drawn again and again from a known truth: the intervals miss it in few of the draws."""
    random = np.random.default_rng(0)
    missed = {"mean": 0, "classes": 0}
    for _ in range(100):
        low, high = bootstrap_interval(random.random(50), resamples=200)
        missed["mean"] += not low <= 0.5 <= high
        counts = np.array([40, 20, 30])
        low, high = class_mean_interval(random.binomial(counts, [0.9, 0.5, 0.7]), counts, resamples=200)
        missed["classes"] += not low <= 0.7 <= high
    assert all(1 <= count <= 15 for count in missed.values()), missed


def test_where_all_is_right_the_intervals_have_a_width():
    """Drawing the same videos anew would always find 100 %; so many videos do not say so much."""
    labels = np.arange(21) % 3
    whole = measure(np.eye(3)[labels], labels, view_hits=np.full(21, 2), views_per_video=2, with_intervals=True)
    sets = np.eye(3, dtype=np.uint8)[labels]
    several_labels = measure(sets.astype(float), sets, with_intervals=True)
    wanted = pytest.approx(wilson_interval(21, 21))
    for interval in (
        whole.top1_interval,
        whole.mean_class_top1_interval,
        whole.clip_top1_interval,
        several_labels.map_interval,
    ):
        assert interval == wanted
    assert whole.top1_interval == pytest.approx((0.8454, 1.0), abs=1e-3)


def test_the_interval_of_a_map_widens_with_fewer_videos():
    many, few = several(5, count=400), several(5, count=40)
    widths = []
    for probabilities, labels in (many, few):
        low, high = map_interval(probabilities, labels > 0)
        assert low < measure_multi_label(probabilities, labels).map < high
        widths.append(high - low)
    assert 1.5 < widths[1] / widths[0] < 6
