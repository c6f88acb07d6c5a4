"""Class centres as a task's state: attention regularisation for WS-DAN and WS-BAN."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from timm.task import TrainingTask
from torch import Tensor

from fgvc_zoo._errors import check_choice, check_range
from fgvc_zoo.losses import center_loss, update_centers
from fgvc_zoo.losses.center import CENTER_RULES


class CenterTask(TrainingTask):
    """A task that pulls embeddings to their class's centre.

    The centres belong to the training, not to the model: a published checkpoint does not hold them. They are equal on every process.

    Args:
        num_classes: K.
        width: D, entries of an embedding.
        beta: Step of the centres towards the embeddings, in (0, 1].
        rule: 'ema' or 'reference' (see `update_centers`).

    Raises:
        UserError: The rule does not exist, or the step is out of range.
    """

    def __init__(self, num_classes: int, width: int, beta: float, rule: str) -> None:
        check_choice('center_rule', rule, CENTER_RULES)
        check_range('center_beta', beta, 0, 1, exclude=(0,))
        super().__init__(verbose=False)
        self.center_beta = beta
        self.center_rule = rule
        self.centers: Tensor
        self.register_buffer('centers', torch.zeros(num_classes, width))

    def center_loss(self, embedding: Tensor, targets: Tensor) -> Tensor:
        """The loss of embeddings (B, D) against the centres as they were before this batch, which then moves them in training."""
        loss = center_loss(embedding, self.centers, targets)
        if self.training:
            self.centers.copy_(update_centers(
                self.centers, gather(embedding.detach()), gather(targets), self.center_beta, self.center_rule))
        return loss

    def get_task_state(self, module: Any = None, ema: bool = False) -> dict[str, Any]:
        """The class centres (K, D)."""
        return {'centers': self.centers.detach().clone()}

    def load_task_state(self, state: dict[str, Any] | None, strict: bool = True, module: Any = None, ema: bool = False) -> None:
        """Take over centres from `get_task_state`."""
        if state is not None:
            self.centers.copy_(state['centers'])


def gather(x: Tensor) -> Tensor:
    """Rows of every process in rank order, (world * B, ...); `x` itself with one process. No gradient."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return x
    parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts)
