"""How OSME is trained: cross-entropy and the multi-attention multi-class constraint (MAMC).

Sun et al., arXiv 1806.05372. Every branch's feature vector is an anchor: it is pulled to those of the same attention and class, and those
that share neither attention nor class are pushed furthest. The constraint needs several images of a class in a batch, so the
recipe sets `images_per_class`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fgvc_zoo._errors import check_choice, check_range
from fgvc_zoo._processes import gather, gather_with_gradient
from fgvc_zoo.losses import mamc_loss
from fgvc_zoo.losses.mamc import NORMALIZATIONS
from fgvc_zoo.models.osme import OSME
from fgvc_zoo.tasks.base import MethodTask


class OSMETask(MethodTask):
    """OSME's training step.

    `task(images (B, C, H, W), targets (B,))` returns `loss`, `output` (logits (B, K)) and the parts `ce` (cross-entropy), `sasc`, `sadc`
    and `dasc` (the three N-pair terms, see `mamc_loss`), over the images of all processes together.

    loss = ce + mamc_weight * (sasc + sadc + dasc)

    Args:
        model: The network.
        smoothing: Label smoothing of the cross-entropy, in [0, 1).
        mamc_weight: Lambda, weight of the constraint.
        normalization: What each term's sum is divided by (see `mamc_loss`). With the paper's 'per_pair' the constraint grows with the
            batch and becomes much larger than the cross-entropy, and the lengths of the feature vectors can diverge. 'per_positive'
            keeps both terms at one scale.
        feature_length: The constraint sees the branches' vectors with this length, which bounds their inner products; null leaves them
            as they are, as in the paper.

    Raises:
        UserError: The model is not an OSME with classes, or an option is out of range.
    """

    model_class = OSME
    trainable_module: OSME

    def __init__(
            self,
            model: nn.Module,
            smoothing: float = 0.0,
            mamc_weight: float = 0.5,
            normalization: str = 'per_positive',
            feature_length: float | None = None,
    ) -> None:
        if feature_length is not None:
            check_range('feature_length', feature_length, 0, exclude=(0,))
        check_range('mamc_weight', mamc_weight, 0)
        check_choice('normalization', normalization, NORMALIZATIONS)
        super().__init__(model, smoothing)
        self.mamc_weight = mamc_weight
        self.normalization = normalization
        self.feature_length = feature_length

    def losses(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        branches = self.trainable_module.forward_parts(images)
        vectors = branches.features
        if self.feature_length is not None:
            vectors = self.feature_length * F.normalize(vectors.float(), dim=2)
        terms = mamc_loss(gather_with_gradient(vectors), gather(targets), self.normalization)
        ce = self.criterion(branches.logits, targets)
        loss = ce + self.mamc_weight * (terms.sasc + terms.sadc + terms.dasc)
        return loss, branches.logits, dict(ce=ce, **terms._asdict())

    @torch.no_grad()
    def diagnose(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Do the branches attend to different channels, and what is each alone worth?

        Args:
            images: (B, C, H, W).
            targets: (B,).

        Returns:
            `excitation_cosine`: mean over images and pairs of branches of the cosine between an image's excitations. Since they are
            all positive it is near 1 from the start; 1 exactly if the branches attend alike.
            `excitation_cosine_centered`: the same after each branch's mean over the batch is taken away: do the branches
            answer alike to what sets an image apart? Both are left out for a single branch.
            `branch1_top1` and so on: accuracy of each branch alone in percent.
        """
        branches = self.trainable_module.forward_parts(images)
        excitations = branches.excitations.float()
        values = {}
        if excitations.shape[1] > 1:
            values['excitation_cosine'] = _cosine(excitations)
            values['excitation_cosine_centered'] = _cosine(excitations - excitations.mean(0))
        correct = self.trainable_module.branch_logits(branches.features).argmax(2) == targets[:, None]
        for index, accuracy in enumerate(100 * correct.float().mean(0)):
            values[f'branch{index + 1}_top1'] = accuracy
        return values


def _cosine(vectors: Tensor) -> Tensor:
    """Mean over images and pairs of the cosine between the P vectors of an image, (B, P, C)."""
    unit = F.normalize(vectors, dim=2)
    first, second = torch.triu_indices(vectors.shape[1], vectors.shape[1], 1, device=vectors.device)
    return (unit[:, first] * unit[:, second]).sum(2).mean()
