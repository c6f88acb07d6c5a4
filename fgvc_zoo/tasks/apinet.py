"""How API-Net is trained: on pairs of images that look alike, each classified under its own and under the other's gate.

Zhuang et al., arXiv 2002.10191. Every image of a batch is paired with the nearest of its class and the nearest of another class. A
pair makes a mutual vector, that makes a gate for each image, and each image is classified under both gates. The loss asks for
the right class under both, and for a higher probability of it under the image's own gate. The pairs need several images of a class in a
batch, so the recipe sets `images_per_class`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fgvc_zoo._errors import check_range
from fgvc_zoo._processes import gather, gather_with_gradient, shared_random
from fgvc_zoo.layers import PairwiseInteraction, nearest_pairs
from fgvc_zoo.losses import score_ranking_loss, true_class_probability
from fgvc_zoo.models.apinet import APINet
from fgvc_zoo.tasks.base import MethodTask


class APINetTask(MethodTask):
    """API-Net's training step.

    `task(images (B, C, H, W), targets (B,))` returns `loss`, `output` (logits (B, K) of the plain inference) and the parts `ce`
    (cross-entropy of the attentive features), `rank` (score ranking regularisation) and `plain` (cross-entropy of the plain inference).

    loss = ce + ranking_weight * rank + plain_weight * plain

    `ce` and `rank` are means over the valid pairs, both images of a pair and, for `ce`, both gates; a batch without any valid pair
    contributes zero to both terms. Several processes pair the images of all of them, and each computes all pairs.

    Inference classifies x, while `ce` trains the classifier on x * (1 + gate), which has 1 to 2 times its size. With a `plain_weight` the
    classifier learns x too.

    Args:
        model: The network.
        smoothing: Label smoothing of the cross-entropies, in [0, 1).
        margin: `rank` is 0 where the own gate's probability of the true class is higher by this much, in [0, 1]; the authors' 0.05.
        ranking_weight: Weight of `rank`; the authors' 1.
        plain_weight: Weight of `plain`; the authors have none.
        hidden: Width of the layer before the mutual vector; the authors' 512.
        hidden_drop: Dropout behind it, in [0, 1); the authors' 0.5.
        drop: Dropout on the attentive features, in [0, 1); the authors' 0.5.
        normalize: The gates see features of one size whatever the backbone's (see `PairwiseInteraction`); the authors' do not.

    Raises:
        UserError: The model is not an APINet with classes, or an option is out of range.
    """

    model_class = APINet
    trainable_module: APINet

    def __init__(
            self,
            model: nn.Module,
            smoothing: float = 0.0,
            margin: float = 0.05,
            ranking_weight: float = 1.0,
            plain_weight: float = 0.0,
            hidden: int = 512,
            hidden_drop: float = 0.5,
            drop: float = 0.5,
            normalize: bool = False,
    ) -> None:
        check_range('hidden', hidden, 1)
        check_range('margin', margin, 0, 1)
        check_range('ranking_weight', ranking_weight, 0)
        check_range('plain_weight', plain_weight, 0)
        for name, rate in (('hidden_drop', hidden_drop), ('drop', drop)):
            check_range(name, rate, 0, 1, exclude=(1,))
        super().__init__(model, smoothing)
        self.interaction = PairwiseInteraction(self.trainable_module.head_hidden_size, hidden, hidden_drop, normalize).to(
            next(model.parameters()).device)
        self.drop = nn.Dropout(drop)
        self.margin = margin
        self.ranking_weight = ranking_weight
        self.plain_weight = plain_weight

    def pair_logits(self, features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of every image of every pair under both gates.

        Args:
            features: x, (B, C).
            targets: (B,).

        Returns:
            Logits (R, 2, 2, K) of R = 2 * B pairs, B counting the images of all processes: pair, image, [own gate, other gate], class.
            Labels (R, 2) of the images; -100, which no loss counts, in pairs that are not valid.
        """
        features, targets = gather_with_gradient(features), gather(targets)
        pairs = nearest_pairs(features, targets)
        with shared_random(features.device):  # every process computes all pairs, with the same dropout
            attentive = self.interaction(features[pairs.images])
            logits = self.trainable_module.classifier(self.drop(attentive.to(features.dtype)))
        return logits, targets[pairs.images].masked_fill(~pairs.valid[:, None], -100)

    def losses(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        plain = self.trainable_module.forward_parts(images)
        logits, labels = self.pair_logits(plain.features, targets)
        parts = dict(
            ce=self.cross_entropy(logits, labels[:, :, None].expand(-1, -1, 2)),
            rank=score_ranking_loss(logits[:, :, 0], logits[:, :, 1], labels, self.margin),
            plain=self.cross_entropy(plain.logits, targets))
        loss = parts['ce'] + self.ranking_weight * parts['rank'] + self.plain_weight * parts['plain']
        return loss, plain.logits, parts

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean over the labels (...) that are not -100, of logits (..., K), float32 at least; 0 where there is none.

        Where the classes have weights, each label counts with its class's.
        """
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return self.criterion.terms(logits.flatten(0, -2), labels.flatten()).sum() / (labels >= 0).sum().clamp(min=1)

    @torch.no_grad()
    def diagnose(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Does an image's own gate show its class better than the other's?

        Args:
            images: (B, C, H, W).
            targets: (B,).

        Returns:
            Means over both images of the valid pairs, 0 if there are none: `p_self` and `p_other`, probability of the true class under the
            own and under the other gate; `self_above_other`, share in [0, 1] of the images with p_self > p_other.
        """
        logits, labels = self.pair_logits(self.trainable_module.forward_parts(images).features, targets)
        probability = true_class_probability(logits, labels[:, :, None].expand(-1, -1, 2))
        counts = labels >= 0
        own, other = probability.unbind(2)
        values = dict(p_self=own, p_other=other, self_above_other=(own > other).float())
        return {name: value.masked_fill(~counts, 0.0).sum() / counts.sum().clamp(min=1) for name, value in values.items()}
