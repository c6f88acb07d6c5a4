"""How OSME is trained: cross-entropy and the multi-attention multi-class constraint (MAMC).

Sun et al., arXiv 1806.05372. Every branch's feature vector is an anchor: it is pulled to those of the same attention and class, and those
that share neither attention nor class are pushed furthest. The constraint needs several images of a class in a batch, so the
recipe sets `images_per_class`.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from timm.task import TrainingTask
from torch import Tensor, nn
from torch.nn import functional as F

from fgvc_zoo._errors import UserError, check_choice, check_range
from fgvc_zoo.losses import mamc_loss
from fgvc_zoo.losses.mamc import NORMALIZATIONS
from fgvc_zoo.models.osme import OSME
from fgvc_zoo.tasks._centers import gather


class MAMCTask(TrainingTask):
    """OSME's training step.

    `task(images (B, C, H, W), targets (B,))` returns `loss`, `output` (logits (B, K)) and the parts `ce` (cross-entropy), `sasc`, `sadc`
    and `dasc` (the three N-pair terms, see `mamc_loss`), over the images of all processes together.

    loss = ce + mamc_weight * (sasc + sadc + dasc)

    Args:
        model: The network.
        smoothing: Label smoothing of the cross-entropy, in [0, 1).
        mamc_weight: Lambda, weight of the constraint.
        normalization: By what each term's sum is divided (see `mamc_loss`). With 'per_pair' (the paper) and 'per_anchor' the
            constraint drowns the cross-entropy, more so the larger the batch; with features that are compared by
            inner products the branches' lengths can then run away. 'per_positive' keeps the values of one size.
        cosine_scale: None compares features by inner products, as the paper does; a number by that times their cosine.

    Raises:
        UserError: The model is not an OSME with classes, or an option is out of range.
    """

    def __init__(
            self,
            model: nn.Module,
            smoothing: float = 0.0,
            mamc_weight: float = 0.5,
            normalization: str = 'per_positive',
            cosine_scale: float | None = None,
    ) -> None:
        if not isinstance(model, OSME) or model.num_classes == 0:
            raise UserError("the task 'mamc' trains an OSME model with classes, such as osme_tf_efficientnet_lite0")
        check_choice('normalization', normalization, NORMALIZATIONS)
        if cosine_scale is not None:
            check_range('cosine_scale', cosine_scale, 0, exclude=(0,))
        super().__init__(verbose=False)
        self.trainable_module: OSME = model
        self.criterion = nn.CrossEntropyLoss(label_smoothing=smoothing)
        self.mamc_weight = mamc_weight
        self.normalization = normalization
        self.cosine_scale = cosine_scale

    def forward(self, input: Tensor, target: Tensor) -> dict[str, Tensor]:
        found = self.trainable_module.forward_parts(input)
        terms = mamc_loss(gather_with_gradient(found.features), gather(target), self.normalization, self.cosine_scale)
        losses = dict(ce=self.criterion(found.logits, target), **terms._asdict())
        loss = losses['ce'] + self.mamc_weight * (terms.sasc + terms.sadc + terms.dasc)
        return dict(loss=loss, output=found.logits, **{name: value.detach() for name, value in losses.items()})

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
        found = self.trainable_module.forward_parts(images)
        excitations = found.excitations.float()
        values = {}
        if excitations.shape[1] > 1:
            values['excitation_cosine'] = _cosine(excitations)
            values['excitation_cosine_centered'] = _cosine(excitations - excitations.mean(0))
        correct = self.trainable_module.branch_logits(found.features).argmax(2) == targets[:, None]
        for index, accuracy in enumerate(100 * correct.float().mean(0)):
            values[f'branch{index + 1}_top1'] = accuracy
        return values


def _cosine(vectors: Tensor) -> Tensor:
    """Mean over images and pairs of the cosine between the P vectors of an image, (B, P, C)."""
    unit = F.normalize(vectors, dim=2)
    first, second = torch.triu_indices(vectors.shape[1], vectors.shape[1], 1, device=vectors.device)
    return (unit[:, first] * unit[:, second]).sum(2).mean()


def gather_with_gradient(x: Tensor) -> Tensor:
    """Rows of every process in rank order, (world * B, ...); `x` itself with one process.

    The gradient of a process's rows is the sum over the processes' losses. If every process computes the same loss from
    the gathered rows, averaging gradients over processes, as data parallel training does, gives that loss's gradient exactly.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return x
    return _Gather.apply(x)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return gather(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()]
