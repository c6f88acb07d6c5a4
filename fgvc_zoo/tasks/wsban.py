"""How WS-BAN is trained: the whole image (master) and its attended object (part) through one network.

Hu et al., arXiv 1808.02152. Both passes are classified; the whole image's embedding is pulled to its class's centre; and the part's
softened answer is a second target for the whole image. That distillation is in the description this implementation follows, but may come
from a neighbouring paper (Zheng et al., "Looking for the Devil in the Details", CVPR 2019, which distils part networks into a master
network); `distillation_weight=0` leaves it out.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from fgvc_zoo._errors import check_range
from fgvc_zoo.layers import crop_boxes
from fgvc_zoo.losses import distillation_loss
from fgvc_zoo.models.wsban import WSBAN
from fgvc_zoo.tasks.base import LossPart, fixed_statistics
from fgvc_zoo.tasks.centers import CenterTask


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

    model_class = WSBAN
    trainable_module: WSBAN

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
        check_range('distillation_weight', distillation_weight, 0)
        check_range('temperature', temperature, 0, exclude=(0,))
        super().__init__(model, smoothing, center_weight, center_beta, center_rule)
        self.distillation_weight = distillation_weight
        self.temperature = temperature

    def parts(self, images: Tensor, targets: Tensor) -> Iterator[LossPart]:
        model = self.trainable_module
        height, width = images.shape[2:]
        view = model.view(images)
        # The whole image learns from the part's answer, so the part comes first, and the box that cuts it from a pass without gradients.
        with torch.no_grad(), fixed_statistics(model):
            boxes = model.object_box(model.attention(model.forward_features(view)), height, width)
            crops = model.view(crop_boxes(images, boxes, height, width))
        part = model.forward_parts(crops).logits
        loss, part = self.criterion(part, targets), part.detach()
        yield LossPart(loss / 2, dict(part=loss))
        raw = model.forward_parts(view)
        components = dict(raw=self.criterion(raw.logits, targets), center=self.center_loss(raw.embedding, targets))
        loss = components['raw'] / 2 + self.center_weight * components['center']
        if self.distillation_weight > 0:
            components['distillation'] = distillation_loss(raw.logits, part, self.temperature)
            loss = loss + self.distillation_weight * components['distillation']
        yield LossPart(loss, components, raw.logits)
