"""Cross-entropy with a weight for each class, for data whose classes have very different numbers of images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class WeightedCrossEntropy(nn.CrossEntropyLoss):
    """The mean over the images of weight * cross-entropy; `nn.CrossEntropyLoss` if there are no weights.

    PyTorch divides by the sum of the batch's weights instead, so that an image counts more in a batch of common classes, and the loss
    depends on how processes share a batch.
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        if self.weight is None:
            return super().forward(input, target)
        return F.cross_entropy(input, target, self.weight, label_smoothing=self.label_smoothing, reduction='none').mean()


def balanced_weights(targets: Sequence[int], num_classes: int) -> Tensor:
    """Weights that let every class count the same: N / (classes that have images * number of its images). Their mean over the images is 1.

    Args:
        targets: Class of each of the N images, in [0, K).
        num_classes: K.

    Returns:
        (K,) float32; 0 for a class without images.
    """
    counts = torch.bincount(torch.as_tensor(targets), minlength=num_classes)
    present = counts > 0
    return (len(targets) / (present.sum() * counts.clamp(min=1))).where(present, 0).float()
