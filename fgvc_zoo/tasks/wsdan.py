"""How WS-DAN is trained: attention-guided crops and drops, and attention regularisation.

Hu et al., arXiv 1901.09891. Every step runs three forward passes: on the whole images, on crops of one attention map's region, and with
another map's region erased. The three cross-entropies are averaged; the whole image's embedding is pulled to its class's centre.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from fgvc_zoo._errors import check_range
from fgvc_zoo._processes import share, shared_random
from fgvc_zoo.layers import attention_crop, attention_drop
from fgvc_zoo.models.wsdan import WSDAN
from fgvc_zoo.tasks.base import LossPart
from fgvc_zoo.tasks.centers import CenterTask


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

    model_class = WSDAN
    trainable_module: WSDAN

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
        for name, (low, high) in (('crop_threshold', crop_threshold), ('drop_threshold', drop_threshold)):
            check_range(f'the lower end of {name}', low, 0, 1, exclude=(0, 1))
            check_range(f'the upper end of {name}', high, low, 1, exclude=(1,))
        check_range('crop_padding', crop_padding, 0)
        super().__init__(model, smoothing, center_weight, center_beta, center_rule)
        self.crop_threshold = crop_threshold
        self.drop_threshold = drop_threshold
        self.crop_padding = crop_padding

    def parts(self, images: Tensor, targets: Tensor) -> Iterator[LossPart]:
        model = self.trainable_module
        view = model.view(images)
        raw = model.forward_parts(view)
        attention = raw.attention.detach()
        # the random choices use torch's global generator, which the trainer seeds before every step
        with shared_random(images.device):
            crops = model.view(attention_crop(images, attention, None, self.crop_threshold, self.crop_padding, share()))
            drops = attention_drop(view, attention, None, self.drop_threshold, share())
        loss, center = self.criterion(raw.logits, targets), self.center_loss(raw.embedding, targets)
        output = raw.logits.detach()
        del raw  # the loss holds the graph until backward
        yield LossPart(loss / 3 + self.center_weight * center, dict(raw=loss, center=center), output)
        for name, views in (('crop', crops), ('drop', drops)):
            loss = self.criterion(model.forward_parts(views).logits, targets)
            yield LossPart(loss / 3, {name: loss})
