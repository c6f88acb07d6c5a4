"""Plain fine-tuning: the control of every comparison."""

from __future__ import annotations

from timm.task import ClassificationTask
from torch import nn


class BaselineTask(ClassificationTask):
    """Cross-entropy on the model's logits and nothing else.

    `task(images (B, C, H, W), targets (B,))` returns `loss` and `output` (logits).

    Args:
        model: Any timm classifier.
        smoothing: Label smoothing, in [0, 1).
    """

    def __init__(self, model: nn.Module, smoothing: float = 0.0) -> None:
        super().__init__(model, criterion=nn.CrossEntropyLoss(label_smoothing=smoothing), verbose=False)
