"""Cross-entropy with a weight for each class, for data whose classes have very different numbers of images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class WeightedCrossEntropy(nn.CrossEntropyLoss):
    """The mean over the images of weight * cross-entropy; `nn.CrossEntropyLoss` if there are no weights.

    PyTorch divides by the sum of the batch's weights instead, so that an image counts more in a batch of common classes, and the loss
    depends on how processes share a batch. With label smoothing it also multiplies each class's share of the truth by that class's weight,
    which makes rare classes more probable for every image.
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return super().forward(input, target) if self.weight is None else self.terms(input, target).mean()

    def terms(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of each label, times the weight of its class.

        Args:
            logits: (N, K).
            labels: (N,), int64; -100 counts as 0.

        Returns:
            (N,), >= 0.
        """
        terms = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing, reduction='none')
        return terms if self.weight is None else terms * self.weight[labels.clamp(min=0)].to(terms.dtype)


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
