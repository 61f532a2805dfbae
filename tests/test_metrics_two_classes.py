"""Measures of two classes and of calibration, against counting, scikit-learn and loops."""

import csv
import json

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score, roc_auc_score, roc_curve
from test_engine_scoring_report_page import Page

from datareader.filelist import FileList
from engine.scoring.predictor import Predictor
from engine.scoring.result_files import write_results
from engine.scoring.video_scores import Evaluation
from metrics.calibration import expected_calibration_error, reliability
from metrics.measures import measure
from metrics.multi_view import combine_views
from metrics.report import measure_accuracy
from metrics.topk import answers
from metrics.two_classes import auc, measure_two_classes, operating_points


def problem(seed, count=60):
    random = np.random.default_rng(seed)
    positive = random.random(count) < 0.4
    positive[:2] = [True, False]
    return np.round(np.clip(0.25 * positive + random.random(count) * 0.75, 0, 1), 2), positive


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.71])
def test_against_scikit_learn(seed, threshold):
    scores, positive = problem(seed)
    given = scores >= threshold
    found = measure_two_classes(scores, given, positive, threshold=threshold, with_intervals=True)
    assert found.precision == pytest.approx(precision_score(positive, given))
    assert found.recall == pytest.approx(recall_score(positive, given))
    assert found.f1 == pytest.approx(f1_score(positive, given))
    assert found.auc == pytest.approx(roc_auc_score(positive, scores))
    for name in ("precision", "recall", "f1", "auc"):
        low, high = getattr(found, f"{name}_interval")
        assert 0 <= low <= getattr(found, name) <= high <= 1
        assert high - low > 0.05


@pytest.mark.parametrize("seed", range(8))
def test_the_operating_curve(seed):
    scores, positive = problem(seed)
    false_rates, true_rates, thresholds = roc_curve(positive, scores, drop_intermediate=False)
    points = operating_points(scores, positive)
    assert [point.threshold for point in points] == thresholds[1:].tolist()  # the first is infinite
    np.testing.assert_allclose([point.recall for point in points], true_rates[1:])
    np.testing.assert_allclose([point.false_positive_rate for point in points], false_rates[1:])
    for point in points:
        given = scores >= point.threshold
        assert point.precision == pytest.approx(precision_score(positive, given))
        assert point.f1 == pytest.approx(f1_score(positive, given))


def test_the_area_by_pairs():
    scores, positive = problem(3, count=30)
    pairs = [(p > n) + (p == n) / 2 for p in scores[positive] for n in scores[~positive]]
    assert auc(scores, positive) == pytest.approx(np.mean(pairs))
    assert auc(scores, np.ones(30, bool)) is None
    assert auc(np.empty(0), np.empty(0, bool)) is None


def test_answers():
    scores = np.array([[0.7, 0.3], [0.5, 0.5], [0.2, 0.8]])
    assert answers(scores).tolist() == [0, 0, 1]
    assert answers(scores, 0.3).tolist() == [1, 1, 1]
    assert answers(scores, 0.81).tolist() == [0, 0, 0]
    assert answers(np.array([[0.1, 0.2, 0.7]]), 0.1).tolist() == [2], "of more classes the best"


def test_the_threshold_decides_all_that_is_said_of_two_classes():
    probabilities = np.array([[0.7, 0.3], [0.6, 0.4], [0.9, 0.1], [0.2, 0.8]])
    labels = np.array([1, 0, 0, 1])
    found = measure(probabilities, labels, threshold=0.3, with_intervals=True)
    assert found.top1 == 0.75
    assert found.mean_class_top1 == 0.75
    assert (found.two_classes.precision, found.two_classes.recall) == (pytest.approx(2 / 3), 1.0)
    lines = found.lines()
    assert lines[-5].startswith("precision       66.67 % [")
    assert lines[-5].endswith("(class 1, at 0.3)")
    assert lines[-2].startswith("AUC             75.00 % [")
    assert lines[-1] == "[low, high]     95 % intervals"
    assert measure(np.eye(3), np.arange(3)).two_classes is None
    one_sided = measure(probabilities, np.zeros(4, int), with_intervals=True)
    assert (one_sided.two_classes.auc, one_sided.two_classes.recall) == (None, None)
    assert "AUC             -   (over all thresholds)" in one_sided.lines()
    assert measure(np.full((2, 2), np.nan), labels[:2], with_intervals=True).two_classes is None


def test_where_there_is_nothing_to_find_and_nothing_is_found(tmp_path):
    """It is no error: precision, recall and F1 are not known."""
    probabilities, labels = np.array([[0.9, 0.1], [0.8, 0.2]]), np.zeros(2, int)
    found = measure(probabilities, labels, threshold=0.9, with_intervals=True)
    two = found.two_classes
    assert (two.precision, two.recall, two.f1, two.auc) == (None,) * 4
    assert (two.precision_interval, two.recall_interval, two.f1_interval, two.auc_interval) == (None,) * 4
    assert found.top1 == 1
    videos = FileList("list.txt", ["a.mp4", "b.mp4"], labels)
    write_results(tmp_path, Evaluation(found, None, probabilities, []), videos, {"weights": "w"}, num_workers=0)
    assert not (tmp_path / "operating_points.csv").exists()
    assert "AUC" in (tmp_path / "report.html").read_text()


def test_accuracy_and_precision_follow_one_rule():
    """Also where two scores are the same, and where the largest of several views do not add up to 1."""
    ties = measure(np.full((3, 2), 0.5), np.array([1, 1, 0]))
    assert (ties.top1, ties.two_classes.recall, ties.two_classes.f1) == (pytest.approx(1 / 3), 0, 0)
    views = np.array([[[0.9, 0.1], [0.4, 0.6]], [[0.8, 0.2], [0.3, 0.7]], [[0.2, 0.8], [0.1, 0.9]]])
    combined = np.stack([combine_views(video, "max", one_label=True) for video in views])
    np.testing.assert_allclose(combined.sum(axis=1), 1)
    np.testing.assert_allclose(combined[0], [0.6, 0.4])
    for threshold, top1 in ((0.5, 1), (0.4999, 1), (0.46, 2 / 3), (0.39, 1 / 3)):
        found = measure(combined, np.array([0, 0, 1]), threshold=threshold)
        assert found.top1 == pytest.approx(top1)
        assert found.two_classes.precision == pytest.approx({1: 1, 2 / 3: 1 / 2, 1 / 3: 1 / 3}[top1])


def test_reliability_by_a_loop():
    random = np.random.default_rng(0)
    confidences = np.concatenate([random.random(500), [0.0, 1.0, 0.2, 1 / 15]])
    right = random.random(504) < confidences
    found = reliability(confidences, right)
    total = 0.0
    for number in range(15):
        low, high = number / 15, (number + 1) / 15
        inside = [k for k, c in enumerate(confidences) if low < c <= high or (number == 0 and c == 0)]
        row = found[number]
        assert (row.count, row.low, row.high) == (len(inside), pytest.approx(low), pytest.approx(high))
        assert row.accuracy == pytest.approx(right[inside].mean())
        assert row.confidence == pytest.approx(confidences[inside].mean())
        total += len(inside) / 504 * abs(right[inside].mean() - confidences[inside].mean())
    assert expected_calibration_error(found) == pytest.approx(total)
    assert expected_calibration_error([]) is None
    sure = reliability(np.full(10, 0.99), np.arange(10) < 5)
    assert expected_calibration_error(sure) == pytest.approx(0.49)


def test_the_error_of_a_test_is_that_of_its_answers():
    probabilities = np.array([[0.9, 0.1, 0.0], [0.3, 0.6, 0.1], [np.nan] * 3])
    found = measure_accuracy(probabilities, np.array([0, 2, 1]), view_hits=None, views_per_video=0)
    assert found.ece == pytest.approx((0.1 + 0.6) / 2)


@pytest.fixture
def written(tmp_path):
    """Results of eight videos that are not there, of two classes, at 0.3."""
    probabilities = np.array([[1 - p, p] for p in (0.9, 0.35, 0.2, 0.1, 0.8, 0.32, 0.05, 0.6)])
    labels = np.array([1, 1, 1, 0, 0, 0, 0, 1])
    measures = measure(probabilities, labels, threshold=0.3, with_intervals=True)
    videos = FileList("list.txt", [f"{number}.mp4" for number in range(8)], labels)
    evaluation = Evaluation(measures, None, probabilities, [])
    write_results(tmp_path, evaluation, videos, {"weights": "w"}, class_names=["rest", "fall"], num_workers=0)
    return tmp_path


def test_files_and_page_of_two_classes(written):
    results = json.loads((written / "results.json").read_text())
    assert [row["predicted"] for row in results["videos"]] == [1, 1, 0, 0, 1, 1, 0, 1]
    assert [row["correct"] for row in results["videos"]] == [True, True, False, True, False, False, True, True]
    assert results["mistakes"] == [2, 4, 5], "the most confident first, by the probability of the answer"
    two = results["metrics"]["two_classes"]
    assert (two["precision"], two["recall"], two["threshold"]) == (0.6, 0.75, 0.3)
    with open(written / "operating_points.csv", newline="") as handle:
        points = list(csv.DictReader(handle))
    assert [float(point["threshold"]) for point in points] == [0.9, 0.8, 0.6, 0.35, 0.32, 0.2, 0.1, 0.05]
    with open(written / "results.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert (rows[5]["label_name"], rows[5]["predicted_name"], rows[5]["probability"]) == ("rest", "fall", "0.32")
    with open(written / "confusion.csv", newline="") as handle:
        assert list(csv.reader(handle)) == [
            ["label", "name", "0 rest", "1 fall"],
            ["0", "rest", "2", "2"],
            ["1", "fall", "1", "3"],
        ]
    with open(written / "classes.csv", newline="") as handle:
        row = next(csv.DictReader(handle))
    assert (row["name"], row["confused_with_name"], row["top1"]) == ("rest", "fall", "0.5")
    assert float(row["top1_low"]) < 0.5 < float(row["top1_high"])
    page = Page((written / "report.html").read_text())
    for words in ("Class 1 is 1 fall", "60.00 % [", "precision of class 1 at 0.3", "Expected calibration error"):
        assert words in page.text
    assert "AUC" in page.text


def test_infer_gives_the_second_class_from_the_threshold_on():
    from configs.schema import InferSection
    from engine.scoring.video_scores import ScoredBatch

    class Batch:
        indices = np.array([0, 1])
        paths = ("a.mp4", "b.mp4")

    scored = ScoredBatch(Batch, np.array([[[0.7, 0.3]], [[0.75, 0.25]]], np.float32))
    for threshold, classes in ((0.5, [(0, 1), (0, 1)]), (0.3, [(1, 0), (0, 1)]), (0.2, [(1, 0), (1, 0)])):
        predictor = Predictor(None, InferSection(threshold=threshold))
        found = predictor._predictions(scored, 2, None)
        assert [item.classes for item in found] == classes
        assert all(
            item.probabilities == pytest.approx([row[k] for k in item.classes])
            for item, row in zip(found, scored.probabilities[:, 0].tolist(), strict=True)
        )
