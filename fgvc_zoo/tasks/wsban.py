"""How WS-BAN is trained: the whole image (master) and its attended object (part) through one network.

Hu et al., arXiv 1808.02152. Both passes are classified; the whole image's embedding is pulled to its class's centre; and the part's
softened answer is a second target for the whole image. That distillation is in the description this implementation follows, but may come
from a neighbouring paper (Zheng et al., "Looking for the Devil in the Details", CVPR 2019, which distils part networks into a master
network); `distillation_weight=0` leaves it out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fgvc_zoo._errors import UserError, check_range
from fgvc_zoo.layers import crop_boxes
from fgvc_zoo.losses import distillation_loss
from fgvc_zoo.models.wsban import WSBAN
from fgvc_zoo.tasks._centers import CenterTask


class WSBANTask(CenterTask):
    """WS-BAN's training step.

    `task(images (B, C, H, W), targets (B,))` returns `loss`, `output` (the whole image's logits (B, K)) and the parts
    `raw`, `part` (cross-entropies), `center` (attention centre loss) and, unless its weight is 0, `distillation`.

    loss = (raw + part) / 2 + distillation_weight * distillation + center_weight * center

    Args:
        model: The network.
        smoothing: Label smoothing of both cross-entropies, in [0, 1).
        distillation_weight: Weight of the part's softened answer as a target of the whole image; 0 leaves it out.
        temperature: T > 0 of the distillation.
        center_weight: Weight of the attention centre loss.
        center_beta: Step of the centres towards the embeddings, in (0, 1].
        center_rule: 'ema' or 'reference' (see `update_centers`).

    Raises:
        UserError: The model is not a WSBAN with classes, or an option is out of range.
    """

    def __init__(
            self,
            model: nn.Module,
            smoothing: float = 0.0,
            distillation_weight: float = 0.5,
            temperature: float = 4.0,
            center_weight: float = 1.0,
            center_beta: float = 0.05,
            center_rule: str = 'ema',
    ) -> None:
        if not isinstance(model, WSBAN) or model.num_classes == 0:
            raise UserError("the task 'wsban' trains a WS-BAN model with classes, such as wsban_tf_efficientnet_lite0")
        check_range('temperature', temperature, 0, exclude=(0,))
        super().__init__(model.num_classes, model.head_hidden_size, center_beta, center_rule)
        self.trainable_module: WSBAN = model
        self.criterion = nn.CrossEntropyLoss(label_smoothing=smoothing)
        self.distillation_weight = distillation_weight
        self.temperature = temperature
        self.center_weight = center_weight

    def forward(self, input: Tensor, target: Tensor) -> dict[str, Tensor]:
        model = self.trainable_module
        height, width = input.shape[2:]
        raw = model.forward_parts(input)
        with torch.no_grad():
            boxes = model.object_box(raw.attention, height, width)
            crops = crop_boxes(input, boxes, height, width)
        part = model.forward_parts(crops).logits
        losses = dict(
            raw=self.criterion(raw.logits, target),
            part=self.criterion(part, target),
            center=self.center_loss(raw.embedding, target))
        loss = (losses['raw'] + losses['part']) / 2 + self.center_weight * losses['center']
        if self.distillation_weight > 0:
            losses['distillation'] = distillation_loss(raw.logits, part, self.temperature)
            loss = loss + self.distillation_weight * losses['distillation']
        return dict(loss=loss, output=raw.logits, **{name: value.detach() for name, value in losses.items()})
