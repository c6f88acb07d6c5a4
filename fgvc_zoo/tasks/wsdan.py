"""How WS-DAN is trained: attention-guided crops and drops, and attention regularisation.

Hu et al., arXiv 1901.09891. Every step looks at the images three times: whole, cropped to one attention map's region, and with another
map's region erased. The three cross-entropies are averaged; the whole image's embedding is pulled to its class's centre.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from timm.task import TrainingTask
from torch import Tensor, nn

from fgvc_zoo._errors import UserError
from fgvc_zoo.layers import attention_crop, attention_drop
from fgvc_zoo.losses import center_loss, update_centers
from fgvc_zoo.models.wsdan import WSDAN


class WSDANTask(TrainingTask):
    """WS-DAN's training step.

    `task(images (B, C, H, W), targets (B,))` returns `loss`, `output` (the whole image's logits (B, K)) and the parts
    `raw`, `crop`, `drop` (cross-entropies) and `center` (attention regularisation).

    The class centres belong to the training, not to the model: they are this task's state, equal on every process.

    Args:
        model: The network.
        smoothing: Label smoothing of the three cross-entropies, in [0, 1).
        center_weight: Weight of the attention regularisation; the authors' 1.
        center_beta: Step of the centres towards the embeddings, in (0, 1]; the paper's 0.05.
        center_rule: 'ema', the paper's moving average, or 'reference', what the authors' code does (see `update_centers`).
        crop_threshold: Range of the crop threshold, as fractions of the map's maximum.
        drop_threshold: Range of the drop threshold.
        crop_padding: Margin around the crop, as a fraction of the image's sides.

    Raises:
        UserError: The model is not a WSDAN with classes.
    """

    def __init__(
            self,
            model: nn.Module,
            smoothing: float = 0.0,
            center_weight: float = 1.0,
            center_beta: float = 0.05,
            center_rule: str = 'ema',
            crop_threshold: tuple[float, float] = (0.4, 0.6),
            drop_threshold: tuple[float, float] = (0.2, 0.5),
            crop_padding: float = 0.1,
    ) -> None:
        super().__init__(verbose=False)
        if not isinstance(model, WSDAN) or model.num_classes == 0:
            raise UserError("the task 'wsdan' trains a WS-DAN model with classes, such as wsdan_tf_efficientnet_lite0")
        self.trainable_module: WSDAN = model
        self.criterion = nn.CrossEntropyLoss(label_smoothing=smoothing)
        self.center_weight = center_weight
        self.center_beta = center_beta
        self.center_rule = center_rule
        self.crop_threshold = crop_threshold
        self.drop_threshold = drop_threshold
        self.crop_padding = crop_padding
        self.centers: Tensor
        self.register_buffer('centers', torch.zeros(model.num_classes, model.head_hidden_size))

    def forward(self, input: Tensor, target: Tensor) -> dict[str, Tensor]:
        model = self.trainable_module
        raw = model.forward_parts(input)
        attention = raw.attention.detach()
        # drawn from torch's global generator, which the trainer seeds anew for every step
        crops = attention_crop(input, attention, None, self.crop_threshold, self.crop_padding)
        drops = attention_drop(input, attention, None, self.drop_threshold)
        losses = dict(
            raw=self.criterion(raw.logits, target),
            crop=self.criterion(model.forward_parts(crops).logits, target),
            drop=self.criterion(model.forward_parts(drops).logits, target),
            center=center_loss(raw.embedding, self.centers, target))
        if self.training:
            embedding, targets = gather(raw.embedding.detach()), gather(target)
            self.centers.copy_(update_centers(self.centers, embedding, targets, self.center_beta, self.center_rule))
        loss = (losses['raw'] + losses['crop'] + losses['drop']) / 3 + self.center_weight * losses['center']
        return dict(loss=loss, output=raw.logits, **{name: value.detach() for name, value in losses.items()})

    def get_task_state(self, module: nn.Module | None = None, ema: bool = False) -> dict[str, Any]:
        """The class centres (K, D)."""
        return {'centers': self.centers.detach().clone()}

    def load_task_state(
            self, state: dict[str, Any] | None, strict: bool = True, module: nn.Module | None = None, ema: bool = False) -> None:
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
