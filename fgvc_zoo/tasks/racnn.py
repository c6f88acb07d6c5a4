"""How RA-CNN is trained: its networks and its attention proposals in turns.

Fu et al., CVPR 2017. First the proposal networks learn to point at where the maps respond most. Then two phases alternate: the networks and
classifiers learn to classify the regions that are proposed, and the proposals learn to choose regions to which the finer scale assigns
a higher probability of the true class than the scale before. Parameters that a phase does not train get no gradient, and the running
statistics of their batch norms stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fgvc_zoo._errors import check_choice, check_range
from fgvc_zoo._processes import gather
from fgvc_zoo.layers import extent_squares, peak_squares
from fgvc_zoo.losses import inter_scale_ranking_loss, true_class_probability
from fgvc_zoo.models.racnn import RACNN
from fgvc_zoo.tasks.base import LossPart, MethodTask

FIRST_TARGETS = ('peak', 'extent')


class RACNNTask(MethodTask):
    """RA-CNN's training step.

    `task(images (B, C, H, W), targets (B,))` returns `loss`, `output` (logits (B, K) of all scales together) and the parts `ce1`, `ce2`
    and so on (each scale's cross-entropy), `fusion` (that of all scales together), `rank` (see `inter_scale_ranking_loss`) and
    `proposal` (smooth L1 distance of the proposed squares from those where the maps respond most, summed over scales and
    coordinates, linear from a tenth of the side on). All parts are computed in every phase; the phase decides which of them the loss is:

        proposal         proposal                      trains the proposal networks
        classification   ce1 + ce2 + ... + fusion      trains the networks and classifiers (see also `follow_peaks`)
        ranking          ranking_weight * rank         trains the proposal networks

    The classifier of all scales together gets detached descriptors, so each network is trained by its own scale's cross-entropy alone.

    The phase depends on the training steps that the task has counted: `proposal` once, then `classification` and `ranking` alternate to the
    end of the run. A phase ends when its loss has settled (the mean of the last `window` losses is less than a share `tolerance` below the
    mean of the `window` before) or after its largest number of steps. A phase shorter than two windows always runs its whole length.
    The defaults suit runs of about 400 steps: if no phase ends early, 360 steps are 45 + 90 + 30 + 90 + 30 + 75.

    Gradient checkpointing would run the frozen networks' batch norms in training mode, so it cannot be used with the ranking phase.

    Args:
        model: The network.
        smoothing: Label smoothing of the cross-entropies, in [0, 1).
        margin: The ranking loss is 0 where the finer scale's probability is higher by this much, in [0, 1].
        detach_coarse: No gradient to the coarser scale: only a higher probability at the finer scale lowers the ranking loss.
        first_target: What the first proposal network learns before the ranking: 'peak', the square of one size with the highest mean
            response, as in the paper; or 'extent', the square around where the map responds with at least 0.3 of its maximum, which
            is as large as the object. The other networks always learn the peak.
        peak_half: Half side of the square around a peak, in unit coordinates.
        proposal_steps: Length of the first phase; 0 leaves it out.
        classification_steps: Largest length of a classification phase.
        ranking_steps: Largest length of a ranking phase; 0 never ranks.
        ranking_weight: Factor of the ranking loss. If it is large, squares grow to nearly the whole image within tens of steps.
        follow_peaks: Until the first ranking phase, the classification phase also trains the proposals towards where the maps respond
            most, because their input maps change while the networks learn. In the paper the proposals are frozen.
        window: Steps over which losses are averaged to decide whether they have settled.
        tolerance: Relative improvement below which a loss has settled.

    Raises:
        UserError: The model is not an RACNN with classes, or a number is out of range.
    """

    model_class = RACNN
    trainable_module: RACNN
    has_phases = True

    def __init__(
            self,
            model: nn.Module,
            smoothing: float = 0.0,
            margin: float = 0.05,
            detach_coarse: bool = True,
            first_target: str = 'peak',
            peak_half: float = 0.25,
            proposal_steps: int = 45,
            classification_steps: int = 90,
            ranking_steps: int = 30,
            ranking_weight: float = 1.0,
            follow_peaks: bool = False,
            window: int = 20,
            tolerance: float = 0.01,
    ) -> None:
        check_range('proposal_steps', proposal_steps, 0)
        check_range('classification_steps', classification_steps, 1)
        check_range('ranking_steps', ranking_steps, 0)
        check_range('window', window, 1)
        check_choice('first_target', first_target, FIRST_TARGETS)
        check_range('ranking_weight', ranking_weight, 0)
        check_range('tolerance', tolerance, 0)
        check_range('margin', margin, 0, 1)
        check_range('peak_half', peak_half, 0, 0.5, exclude=(0,))
        super().__init__(model, smoothing)
        self.margin = margin
        self.detach_coarse = detach_coarse
        self.first_target = first_target
        self.peak_half = peak_half
        self.ranking_weight = ranking_weight
        self.follows = follow_peaks  # until the first ranking phase
        self.longest = dict(proposal=proposal_steps, classification=classification_steps, ranking=ranking_steps)
        self.window = window
        self.tolerance = tolerance
        self.phase = 'proposal' if proposal_steps else 'classification'
        self.steps = 0  # of this phase
        self.recent: list[float] = []  # the phase's last losses, at most two windows

    @property
    def typical(self) -> bool:
        return self.phase == 'classification'

    def become_typical(self) -> None:
        self.phase, self.steps, self.recent = 'classification', 0, []

    def parts(self, images: Tensor, targets: Tensor) -> Iterator[LossPart]:
        if self.phase != 'classification':
            yield from super().parts(images, targets)
            return
        model = self.trainable_module
        logits, descriptors, losses, gaps = [], [], [], []
        crop, region = images, None
        for index, backbone in enumerate([model.backbone, *model.backbones]):
            features = backbone(crop)
            descriptors.append(model.embed(features))
            logits.append([model.classifier, *model.classifiers][index](model.drop(descriptors[index])))
            cross_entropy = loss = self.criterion(logits[index], targets)
            # the squares get no gradient from what they show, so no scale's graph reaches into another's
            descriptors[index], logits[index], features = descriptors[index].detach(), logits[index].detach(), features.detach()
            if index < len(model.proposals):
                square = model.proposals[index](features)
                gaps.append(self.proposal_loss(index, features, square))
                loss = loss + gaps[index] if self.follows else loss
                crop, region = model.zoom(images, square.detach(), region)
            losses.append(loss.detach())
            yield LossPart(loss, {f'ce{index + 1}': cross_entropy})
        output = model.fuse(descriptors)
        fusion = self.criterion(output, targets)
        rank = inter_scale_ranking_loss(logits, targets, self.margin, self.detach_coarse)
        if self.training:
            self._count(torch.stack([*losses, fusion.detach()]).sum())
        yield LossPart(fusion, dict(fusion=fusion, rank=rank, proposal=torch.stack(gaps).sum()), output)

    def losses(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Of the phases that train the proposal networks."""
        model = self.trainable_module
        with held(child for name, child in model.named_children() if name != 'proposals'):
            scales = model.forward_parts(images, learn_boxes=self.phase == 'ranking')
        components = {f'ce{index + 1}': self.criterion(logits, targets) for index, logits in enumerate(scales.logits)}
        components['fusion'] = self.criterion(scales.fusion, targets)
        components['rank'] = inter_scale_ranking_loss(scales.logits, targets, self.margin, self.detach_coarse)
        components['proposal'] = torch.stack([
            self.proposal_loss(index, features, square)
            for index, (features, square) in enumerate(zip(scales.maps[:-1], scales.squares, strict=True))]).sum()
        loss = components['proposal'] if self.phase == 'proposal' else self.ranking_weight * components['rank']
        if self.training:
            self._count(loss)
        return loss, scales.fusion, components

    def proposal_loss(self, index: int, features: Tensor, square: Tensor) -> Tensor:
        """Distance of a scale's proposal from where its map responds: smooth L1, summed over coordinates, mean over images.

        Args:
            index: Of the proposing scale, from 0.
            features: Its map (B, C, h, w).
            square: Its proposal (B, 3).
        """
        extent = self.first_target == 'extent' and index == 0
        target = extent_squares(features) if extent else peak_squares(features, self.peak_half)
        return F.smooth_l1_loss(square, target, beta=0.1, reduction='sum') / len(features)

    def _count(self, loss: Tensor) -> None:
        """Count a step of the phase, and begin the next phase if it was the last one; the same on every process."""
        mean = gather(loss.detach().float()[None]).mean().item()
        self.steps += 1
        self.recent = [*self.recent, mean][-2 * self.window:]
        if self.steps >= self.longest[self.phase] or has_settled(self.recent, self.window, self.tolerance):
            self.phase = 'ranking' if self.phase == 'classification' and self.longest['ranking'] else 'classification'
            self.follows = self.follows and self.phase != 'ranking'
            self.steps, self.recent = 0, []

    def get_task_state(self, module: Any = None, ema: bool = False) -> dict[str, Any]:
        """Where the alternation stands."""
        return dict(phase=self.phase, steps=self.steps, recent=list(self.recent), follows=self.follows)

    def load_task_state(self, state: dict[str, Any] | None, strict: bool = True, module: Any = None, ema: bool = False) -> None:
        """Go on where `get_task_state` was called."""
        if state is not None:
            self.phase, self.steps, self.recent = state['phase'], state['steps'], list(state['recent'])
            self.follows = state['follows']

    @torch.no_grad()
    def diagnose(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Do the finer scales know more, and do the proposals depend on the image?

        Args:
            images: (B, C, H, W).
            targets: (B,).

        Returns:
            `scale1_probability`, ...: mean probability of the true class. `scale2_above_scale1`, ...: share of the images, in [0, 1],
            for which the finer scale's is higher. `scale2_side`, ...: mean side of the scale's region, as a share of the image's.
            `scale2_spread`, ...: standard deviation over the images of that region's centre, in unit coordinates.
        """
        scales = self.trainable_module.forward_parts(images)
        probability = torch.stack([true_class_probability(logits, targets) for logits in scales.logits])
        low, high = scales.boxes[..., :2], scales.boxes[..., 2:]
        values = {f'scale{index + 1}_probability': value for index, value in enumerate(probability.mean(1))}
        for index, share in enumerate((probability[1:] > probability[:-1]).float().mean(1)):
            values[f'scale{index + 2}_above_scale{index + 1}'] = share
            values[f'scale{index + 2}_side'] = (high - low)[:, index].mean()
            values[f'scale{index + 2}_spread'] = ((low + high) / 2)[:, index].std(0, correction=0).mean()
        return values


@contextmanager
def held(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Freeze these modules: eval mode, no parameter gradients. Gradients still flow through them to their inputs."""
    frozen = list(modules)
    parts = {part: part.training for module in frozen for part in module.modules()}
    learning = [parameter for module in frozen for parameter in module.parameters() if parameter.requires_grad]
    for part in parts:
        part.training = False
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for part, training in parts.items():
            part.training = training
        for parameter in learning:
            parameter.requires_grad_(True)


def has_settled(losses: list[float], window: int, tolerance: float) -> bool:
    """Whether the mean of the last `window` losses is less than a share `tolerance` below that of the `window` before them."""
    if len(losses) < 2 * window:
        return False
    before, now = fmean(losses[-2 * window:-window]), fmean(losses[-window:])
    return before - now <= tolerance * abs(before)
