"""Plain fine-tuning: the control of every comparison."""

from __future__ import annotations

from torch import Tensor

from fgvc_zoo.tasks.base import MethodTask


class BaselineTask(MethodTask):
    """Cross-entropy on the logits of any timm classifier.

    `task(images (B, C, H, W), targets (B,))` returns `loss` and `output` (logits (B, K)).
    """

    def losses(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        logits = self.trainable_module(images)
        return self.criterion(logits, targets), logits, {}
