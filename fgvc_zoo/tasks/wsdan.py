"""How WS-DAN is trained: attention-guided crops and drops, and attention regularisation.

Hu et al., arXiv 1901.09891. Every step looks at the images three times: whole, cropped to one attention map's region, and with another
map's region erased. The three cross-entropies are averaged; the whole image's embedding is pulled to its class's centre.
"""

from __future__ import annotations

from torch import Tensor, nn

from fgvc_zoo._errors import UserError
from fgvc_zoo.layers import attention_crop, attention_drop
from fgvc_zoo.models.wsdan import WSDAN
from fgvc_zoo.tasks._centers import CenterTask


class WSDANTask(CenterTask):
    """WS-DAN's training step.

    `task(images (B, C, H, W), targets (B,))` returns `loss`, `output` (the whole image's logits (B, K)) and the parts
    `raw`, `crop`, `drop` (cross-entropies) and `center` (attention regularisation).

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
        UserError: The model is not a WSDAN with classes, or an option is out of range.
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
        if not isinstance(model, WSDAN) or model.num_classes == 0:
            raise UserError("the task 'wsdan' trains a WS-DAN model with classes, such as wsdan_tf_efficientnet_lite0")
        super().__init__(model.num_classes, model.head_hidden_size, center_beta, center_rule)
        self.trainable_module: WSDAN = model
        self.criterion = nn.CrossEntropyLoss(label_smoothing=smoothing)
        self.center_weight = center_weight
        self.crop_threshold = crop_threshold
        self.drop_threshold = drop_threshold
        self.crop_padding = crop_padding

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
            center=self.center_loss(raw.embedding, target))
        loss = (losses['raw'] + losses['crop'] + losses['drop']) / 3 + self.center_weight * losses['center']
        return dict(loss=loss, output=raw.logits, **{name: value.detach() for name, value in losses.items()})
