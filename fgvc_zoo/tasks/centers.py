"""Class centres in the training state: attention regularisation for WS-DAN and WS-BAN."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fgvc_zoo._errors import check_choice, check_range
from fgvc_zoo._processes import gather
from fgvc_zoo.losses import center_loss, update_centers
from fgvc_zoo.losses.center import CENTER_RULES
from fgvc_zoo.tasks.base import MethodTask


class CenterTask(MethodTask):
    """A task that pulls embeddings to their class's centre.

    The centres (K, D) belong to the training, not to the model: a published checkpoint does not hold them. They are equal on every process.

    Args:
        model: The network, whose embeddings have D = `head_hidden_size` entries.
        smoothing: Label smoothing of the cross-entropies, in [0, 1).
        weight: Factor of the centre loss.
        beta: Step of the centres towards the embeddings, in (0, 1].
        rule: 'ema' or 'reference' (see `update_centers`).

    Raises:
        UserError: The model is of another class or has no classes, the rule does not exist, or an option is out of range.
    """

    def __init__(self, model: nn.Module, smoothing: float, weight: float, beta: float, rule: str) -> None:
        check_choice('center_rule', rule, CENTER_RULES)
        check_range('center_weight', weight, 0)
        check_range('center_beta', beta, 0, 1, exclude=(0,))
        super().__init__(model, smoothing)
        self.center_weight = weight
        self.center_beta = beta
        self.center_rule = rule
        self.centers: Tensor
        self.register_buffer('centers', torch.zeros(
            self.trainable_module.num_classes, self.trainable_module.head_hidden_size, device=next(model.parameters()).device))

    def center_loss(self, embedding: Tensor, targets: Tensor) -> Tensor:
        """The loss of embeddings (B, D) against the centres. In training the batch then moves the centres."""
        loss = center_loss(embedding, self.centers, targets)
        if self.training:
            self.centers.copy_(update_centers(
                self.centers, gather(embedding.detach()), gather(targets), self.center_beta, self.center_rule))
        return loss
