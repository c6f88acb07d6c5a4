"""Tables and curves of a report. The predicted class, the wrong pairs and the bins are those of `evaluation.py`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fgvc_zoo.metrics import confidence_bins

Pairs = list[tuple[int, int, int]]  # (true class, predicted class, number of images), as `confusions` returns them


@dataclass(frozen=True)
class Bin:
    """Images whose highest probability is in one of the bins of the calibration error.

    Attributes:
        index: The bin, from 0.
        count: Number of images, at least 1.
        confidence: Mean of their highest probability, in [0, 1].
        accuracy: Share of them whose predicted class is right, in [0, 1].
    """

    index: int
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class ClassRow:
    """One class of the data.

    Attributes:
        index: The class.
        images: Number of its images, at least 1.
        correct: Those whose predicted class is right.
        accuracy: correct / images.
        mistaken_for: The class that its wrong images are predicted as most often; None if none is wrong.
        mistakes: Number of images that are predicted as that class.
    """

    index: int
    images: int
    correct: int
    accuracy: float
    mistaken_for: int | None
    mistakes: int


class Coverage(NamedTuple):
    """Accuracy if a model answers only where its highest probability is at least a threshold. One point for each distinct probability.

    Attributes:
        share: (M,) float64, share of the images that are answered, ascending, in (0, 1]; the last one is 1.
        accuracy: (M,) float64, share of those that are right, in [0, 1].
    """

    share: Tensor
    accuracy: Tensor

    def accuracy_at(self, share: float) -> float:
        """Accuracy on the smallest part of the images, the most confident first, that holds at least this share of them."""
        return self.accuracy[int(torch.searchsorted(self.share, share - 1e-12).clamp(max=len(self.share) - 1))].item()

    def share_at(self, accuracy: float) -> float:
        """The largest share of the images that can be answered with at least this accuracy; 0 if there is none."""
        reached = self.share[self.accuracy >= accuracy]
        return reached.max().item() if len(reached) else 0.0


def reliability(confidence: Tensor, correct: Tensor) -> list[Bin]:
    """The bins of the calibration error that have images.

    Args:
        confidence: (N,), highest probability of each image.
        correct: (N,), bool.
    """
    bins = confidence_bins(confidence)
    return [Bin(index, int((bins == index).sum()), confidence[bins == index].double().mean().item(),
                correct[bins == index].double().mean().item()) for index in bins.unique().tolist()]


def coverage(confidence: Tensor, correct: Tensor) -> Coverage:
    """Accuracy against coverage (Geifman, El-Yaniv: Selective Classification for Deep Neural Networks, NeurIPS 2017).

    Args:
        confidence: (N,), highest probability of each image.
        correct: (N,), bool.
    """
    values, order = confidence.sort(descending=True)
    answered = torch.arange(1, len(order) + 1, dtype=torch.double)
    last = torch.ones(len(order), dtype=torch.bool)
    last[:-1] = values[:-1] != values[1:]  # images of equal probability are answered together
    return Coverage((answered / len(order))[last], (correct[order].double().cumsum(0) / answered)[last])


def class_rows(targets: Tensor, pairs: Pairs) -> list[ClassRow]:
    """The classes that have images: the lowest accuracy first, among equals those with the most images first.

    Args:
        targets: (N,), int64.
        pairs: From `confusions`.
    """
    wrong: Counter[int] = Counter()
    worst: dict[int, tuple[int, int]] = {}
    for true, answer, count in pairs:  # the most frequent first
        wrong[true] += count
        worst.setdefault(true, (answer, count))
    rows = [ClassRow(index, images, images - wrong[index], 1 - wrong[index] / images, *worst.get(index, (None, 0)))
            for index, images in sorted(Counter(targets.tolist()).items())]
    return sorted(rows, key=lambda row: (row.accuracy, -row.images))


def confused_classes(pairs: Pairs, limit: int) -> list[int]:
    """Up to `limit` classes that hold the most frequent confusions, in either direction. They are taken pair by pair."""
    chosen: dict[int, None] = {}
    for first, second, _ in _undirected(pairs):
        new = [index for index in (first, second) if index not in chosen]
        if len(chosen) + len(new) <= limit:
            chosen.update(dict.fromkeys(new))
    return list(chosen)


def adjacent_order(classes: Iterable[int], pairs: Pairs) -> list[int]:
    """Order classes so that confused ones lie together.

    Every class starts as a chain of its own. The pairs are taken by their frequency in both directions, and each joins the two chains that
    its classes are in, turned so that the two classes come close to each other.
    """
    chains = {index: [index] for index in sorted(classes)}
    for first, second, _ in _undirected(pairs):
        if first not in chains or second not in chains or chains[first] is chains[second]:
            continue
        left, right = chains[first], chains[second]
        if 2 * left.index(first) < len(left) - 1:
            left = left[::-1]
        if 2 * right.index(second) > len(right) - 1:
            right = right[::-1]
        joined = left + right
        chains.update(dict.fromkeys(joined, joined))
    return list(dict.fromkeys(index for chain in chains.values() for index in chain))


def _undirected(pairs: Pairs) -> Pairs:
    """The pairs without their direction, the most frequent first."""
    counts: Counter[tuple[int, int]] = Counter()
    for true, answer, count in pairs:
        counts[min(true, answer), max(true, answer)] += count
    return sorted(((first, second, count) for (first, second), count in counts.items()), key=lambda pair: (-pair[2], pair[:2]))


def confusion_matrix(targets: Tensor, predicted: Tensor, classes: list[int]) -> list[list[int]]:
    """Numbers of images of some classes: a row for each true class, a column for each predicted class, in the order of `classes`.

    Args:
        targets: (N,), int64.
        predicted: (N,), int64.
        classes: Distinct classes. Images whose true or predicted class is another one are not in the matrix.
    """
    counts = Counter(zip(targets.tolist(), predicted.tolist(), strict=True))
    return [[counts[true, answer] for answer in classes] for true in classes]
