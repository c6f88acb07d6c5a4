"""Images whose label is most likely wrong, by confident learning."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Suspect:
    """An image whose label may be wrong.

    Attributes:
        index: The image.
        suggested: The class that it seems to be of.
        self_confidence: Probability of its label, in [0, 1].
        margin: Normalized margin of its label, in [0, 1]; 0 if another class has probability 1.
    """

    index: int
    suggested: int
    self_confidence: float
    margin: float


def suspect_labels(probabilities: Tensor, targets: Tensor) -> list[Suspect]:
    """Find labels that are likely wrong (Northcutt, Jiang, Chuang: Confident Learning, JAIR 70, 2021, section 3).

    The threshold of a class is the mean probability of that class over the images labelled with it. An image counts as the class with the
    highest probability among those that reach their threshold. Images that count as another class than their label's are off the diagonal
    of the paper's confident joint, and are returned. They are ranked by the normalized margin (p_label - max p_other + 1) / 2.

    The probabilities must be those of a model that was not trained on these images. A class without images has no threshold and is never
    suggested.

    Args:
        probabilities: (N, K), rows sum to 1; K at least 2.
        targets: (N,), int64, the labels.

    Returns:
        The suspects, the lowest margin first.
    """
    rows = torch.arange(len(targets))
    own = probabilities[rows, targets]
    sums = torch.zeros(probabilities.shape[1], dtype=torch.double).index_add_(0, targets, own.double())
    thresholds = sums / torch.bincount(targets, minlength=len(sums))  # 0 / 0 is nan, which no probability reaches
    suggested = probabilities.where(probabilities.double() >= thresholds - 1e-9, -1).max(1)
    others = probabilities.clone()
    others[rows, targets] = -1
    margins = (own - others.amax(1) + 1) / 2
    chosen = ((suggested.values >= 0) & (suggested.indices != targets)).nonzero().flatten()
    chosen = chosen[margins[chosen].argsort(stable=True)]
    return [Suspect(index, int(suggested.indices[index]), own[index].item(), margins[index].item()) for index in chosen.tolist()]
