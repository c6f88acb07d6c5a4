"""Tables and curves against loops over their definitions."""

import itertools
from collections import Counter

import pytest
import torch

from fgvc_zoo.metrics import calibration_error, confusions
from fgvc_zoo.report.measures import ClassRow, adjacent_order, class_rows, confused_classes, confusion_matrix, coverage, reliability


@pytest.fixture
def answers():
    """Probabilities (300, 6) of six classes, targets of five, with ties: the probabilities are rounded."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 5, (300,), generator=generator)
    logits = torch.randn(300, 6, generator=generator) + 2 * torch.nn.functional.one_hot(targets, 6)
    return (logits.softmax(1) * 64).round() / 64, targets


def parts(answers):
    probabilities, targets = answers
    return probabilities.amax(1), probabilities.argmax(1) == targets


def test_bins_hold_the_images_that_the_calibration_error_counts(answers):
    confidence, correct = parts(answers)
    bins = reliability(confidence, correct)
    assert sum(item.count for item in bins) == 300
    for item in bins:
        chosen = [(value, right) for value, right in zip(confidence.tolist(), correct.tolist(), strict=True)
                  if item.index / 15 < value <= (item.index + 1) / 15]
        assert item.count == len(chosen)
        assert item.confidence == pytest.approx(sum(value for value, _ in chosen) / len(chosen))
        assert item.accuracy == pytest.approx(sum(right for _, right in chosen) / len(chosen))
    error = sum(item.count * abs(item.confidence - item.accuracy) for item in bins) / 300
    assert error == pytest.approx(calibration_error(*answers))


def test_coverage_equals_the_loop_over_thresholds(answers):
    confidence, correct = parts(answers)
    found = coverage(confidence, correct)
    values = sorted(set(confidence.tolist()), reverse=True)
    assert len(values) < 300 and len(found.share) == len(values)  # ties are one point
    for share, accuracy, threshold in zip(found.share.tolist(), found.accuracy.tolist(), values, strict=True):
        hits = [right for value, right in zip(confidence.tolist(), correct.tolist(), strict=True) if value >= threshold]
        assert share == pytest.approx(len(hits) / 300)
        assert accuracy == pytest.approx(sum(hits) / len(hits))
    points = list(zip(found.share.tolist(), found.accuracy.tolist(), strict=True))
    for wanted in (0.001, 0.5, found.share[3].item(), 1.0):
        assert found.accuracy_at(wanted) == next(accuracy for share, accuracy in points if share >= wanted)
    for wanted in (0.5, 0.8, 0.9):
        assert found.share_at(wanted) == max((share for share, accuracy in points if accuracy >= wanted), default=0)
    assert found.share_at(1.01) == 0 and found.accuracy_at(1) == correct.double().mean()


def test_class_rows_equal_the_loop(answers):
    probabilities, targets = answers
    predicted = probabilities.argmax(1)
    rows = class_rows(targets, confusions(targets, predicted))
    assert sorted(row.index for row in rows) == [0, 1, 2, 3, 4]  # class 5 has no image
    assert [row.accuracy for row in rows] == sorted(row.accuracy for row in rows)
    for row in rows:
        said = [answer for true, answer in zip(targets.tolist(), predicted.tolist(), strict=True) if true == row.index]
        wrong = Counter(answer for answer in said if answer != row.index)
        assert (row.images, row.correct) == (len(said), said.count(row.index))
        assert row.accuracy == pytest.approx(row.correct / row.images)
        assert row.mistakes == max(wrong.values()) == wrong[row.mistaken_for]


def test_a_class_without_mistakes_and_a_class_that_is_never_predicted():
    targets, predicted = torch.tensor([0, 0, 1, 1, 1]), torch.tensor([0, 0, 0, 2, 0])
    assert class_rows(targets, confusions(targets, predicted)) == [ClassRow(1, 3, 0, 0.0, 0, 2), ClassRow(0, 2, 2, 1.0, None, 0)]
    assert confusion_matrix(targets, predicted, [2, 0, 1]) == [[0, 0, 0], [0, 2, 0], [1, 2, 0]]
    assert confusions(targets, predicted) == [(1, 0, 2), (1, 2, 1)]


def test_the_matrix_equals_the_loop(answers):
    probabilities, targets = answers
    predicted = probabilities.argmax(1)
    classes = [4, 0, 5, 1]
    found = confusion_matrix(targets, predicted, classes)
    for (row, true), (column, answer) in itertools.product(enumerate(classes), repeat=2):
        assert found[row][column] == ((targets == true) & (predicted == answer)).sum()


def test_the_most_confused_classes_are_chosen_pair_by_pair():
    pairs = [(0, 1, 5), (7, 8, 4), (1, 0, 3), (8, 7, 3), (2, 3, 2), (3, 9, 1)]  # 0-1: 8, 7-8: 7, 2-3: 2, 3-9: 1
    assert confused_classes(pairs, 4) == [0, 1, 7, 8]
    assert confused_classes(pairs, 5) == [0, 1, 7, 8]  # a pair that does not fit is left out
    assert confused_classes(pairs, 40) == [0, 1, 7, 8, 2, 3, 9]
    assert confused_classes([], 40) == []


def test_confused_classes_lie_together():
    pairs = [(0, 5, 9), (5, 3, 6), (1, 4, 4), (4, 1, 4), (2, 1, 1)]
    order = adjacent_order(range(7), pairs)
    assert sorted(order) == list(range(7))
    place = {index: at for at, index in enumerate(order)}
    assert all(abs(place[first] - place[second]) == 1 for first, second, _ in pairs)  # a path can be laid out without a gap
    assert adjacent_order([3, 1], []) == [1, 3]
    # pairs of classes that are not in the matrix do not matter
    assert adjacent_order([0, 1, 2], [(0, 9, 5), (0, 2, 1)]) == [0, 2, 1]


def test_groups_of_classes_are_found_again():
    """Three groups of four classes, confused among each other only, in a shuffled order."""
    names = torch.randperm(12, generator=torch.Generator().manual_seed(0)).tolist()
    groups = [set(names[start:start + 4]) for start in (0, 4, 8)]
    pairs = [(first, second, 1 + (first * 7 + second) % 5) for group in groups for first in group for second in group if first != second]
    order = adjacent_order(range(12), sorted(pairs, key=lambda pair: -pair[2]))
    assert {frozenset(order[start:start + 4]) for start in (0, 4, 8)} == {frozenset(group) for group in groups}
