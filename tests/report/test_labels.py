"""Confident learning against a loop over the paper's definitions."""

import pytest
import torch

from fgvc_zoo.report.labels import suspect_labels


def by_loops(probabilities, targets):
    """{image: (suggested class, normalized margin)}."""
    rows, classes = probabilities.tolist(), range(probabilities.shape[1])
    thresholds = {}
    for index in classes:
        own = [row[index] for row, target in zip(rows, targets, strict=True) if target == index]
        if own:
            thresholds[index] = sum(own) / len(own)
    found = {}
    for image, (row, target) in enumerate(zip(rows, targets, strict=True)):
        confident = [index for index in classes if index in thresholds and row[index] >= thresholds[index] - 1e-9]
        if confident and (best := max(confident, key=lambda index: row[index])) != target:
            found[image] = best, (row[target] - max(row[index] for index in classes if index != target) + 1) / 2
    return found


@pytest.mark.parametrize('missing', [False, True])
def test_suspects_equal_the_loops(missing):
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 4 if missing else 5, (400,), generator=generator)  # class 4 may have no images
    probabilities = (torch.randn(400, 5, generator=generator) + 2 * torch.nn.functional.one_hot(targets, 5)).softmax(1)
    expected = by_loops(probabilities, targets.tolist())
    found = suspect_labels(probabilities, targets)
    assert len(found) == len(expected) > 10
    assert [item.margin for item in found] == sorted(item.margin for item in found)
    for item in found:
        suggested, margin = expected[item.index]
        assert item.suggested == suggested and item.margin == pytest.approx(margin, abs=1e-6)
        assert item.self_confidence == probabilities[item.index, targets[item.index]]
        assert not missing or item.suggested != 4


def test_a_planted_wrong_label_comes_first():
    targets = torch.arange(60) % 3
    probabilities = torch.full((60, 3), 0.1)
    probabilities[torch.arange(60), targets] = 0.8
    labels = targets.clone()
    labels[7] = (labels[7] + 1) % 3
    found = suspect_labels(probabilities, labels)
    assert [(item.index, item.suggested) for item in found] == [(7, int(targets[7]))]
    assert found[0].margin == pytest.approx((0.1 - 0.8 + 1) / 2)
    assert suspect_labels(probabilities, targets) == []


def test_a_wrong_answer_below_its_threshold_is_no_suspect():
    # the model gives class 1 a mean probability of 0.9, so 0.6 does not count as class 1
    probabilities = torch.tensor([[0.7, 0.3], [0.4, 0.6], [0.1, 0.9], [0.1, 0.9]])
    assert suspect_labels(probabilities, torch.tensor([0, 0, 1, 1])) == []
