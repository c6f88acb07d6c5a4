"""How RA-CNN is trained: its networks and its attention proposals in turns.

Fu et al., CVPR 2017. First the proposal networks learn to point at where the maps respond most. Then two phases alternate: the networks and
classifiers learn to classify what the proposals show them, and the proposals learn to show finer scales what makes them surer of
the true class than the scale before. What a phase does not train gets no gradient at all, and its batch norms do not move in the
phases that do not train them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from statistics import fmean
from typing import Any

import torch
from timm.task import TrainingTask
from torch import Tensor, nn
from torch.nn import functional as F

from fgvc_zoo._errors import UserError, check_range
from fgvc_zoo.layers import peak_squares
from fgvc_zoo.losses import inter_scale_ranking_loss, true_class_probability
from fgvc_zoo.models.racnn import RACNN
from fgvc_zoo.tasks._centers import gather


class RACNNTask(TrainingTask):
    """RA-CNN's training step.

    `task(images (B, C, H, W), targets (B,))` returns `loss`, `output` (logits (B, K) of all scales together) and the parts `ce1`, `ce2`
    and so on (each scale's cross-entropy), `fusion` (that of all scales together), `rank` (see `inter_scale_ranking_loss`) and
    `proposal` (smooth L1 distance of the proposed squares from those where the maps respond most, summed over scales and
    coordinates, linear from a tenth of the side on). All parts are computed in every phase; the phase decides which of them the loss is:

        proposal         proposal                      trains the proposal networks
        classification   ce1 + ce2 + ... + fusion      trains the networks and classifiers (see also `follow_peaks`)
        ranking          ranking_weight * rank         trains the proposal networks

    The classifier of all scales together learns on descriptors that are held, so each network is trained by its own scale's cross-entropy
    alone.

    The phases go by the training steps that the task has counted: `proposal` once, then `classification` and `ranking` in turns to the end
    of the run. A phase ends when its loss has settled (the mean of the last `window` losses is less than a share `tolerance` below that
    of the `window` before) or after its largest number of steps; one that is shorter than two windows always runs its whole length.
    The defaults suit runs of some 400 steps: with none settled early, 360 of them are 45 + 90 + 30 + 90 + 30 + 75.

    With several processes the trainer must allow parameters without gradient (DistributedDataParallel's `find_unused_parameters`), which
    `trains_in_turns` tells it.
    Gradient checkpointing would run the held networks' batch norms in training mode, so it does not go with the ranking phase.

    Args:
        model: The network.
        smoothing: Label smoothing of the cross-entropies, in [0, 1).
        margin: Lead in probability that the ranking asks of a finer scale, in [0, 1].
        detach_coarse: Only raising the finer scale's probability lowers the ranking loss.
        peak_half: Half side of the square around a peak, in unit coordinates.
        proposal_steps: Length of the first phase; 0 leaves it out.
        classification_steps: Largest length of a classification phase.
        ranking_steps: Largest length of a ranking phase; 0 never ranks.
        ranking_weight: Factor of the ranking loss. Where it is large, squares grow to nearly the whole image within some tens of steps.
        follow_peaks: Until the first ranking phase, the classification phase also trains the proposals towards where the maps respond
            most, since the maps that they read change while the networks learn. In the paper the proposals are held.
        window: Steps over which losses are averaged to see whether they settled.
        tolerance: Relative improvement below which a loss has settled.

    Raises:
        UserError: The model is not an RACNN with classes, or a number is out of range.
    """

    trains_in_turns = True

    def __init__(
            self,
            model: nn.Module,
            smoothing: float = 0.0,
            margin: float = 0.05,
            detach_coarse: bool = True,
            peak_half: float = 0.25,
            proposal_steps: int = 45,
            classification_steps: int = 90,
            ranking_steps: int = 30,
            ranking_weight: float = 1.0,
            follow_peaks: bool = False,
            window: int = 20,
            tolerance: float = 0.01,
    ) -> None:
        if not isinstance(model, RACNN) or model.num_classes == 0:
            raise UserError("the task 'racnn' trains an RA-CNN model with classes, such as racnn_tf_efficientnet_lite0")
        lengths = dict(proposal_steps=proposal_steps, ranking_steps=ranking_steps)
        for name, value, least in (*((key, steps, 0) for key, steps in lengths.items()),
                                   ('classification_steps', classification_steps, 1), ('window', window, 1)):
            check_range(name, value, least)
        check_range('margin', margin, 0, 1)
        check_range('peak_half', peak_half, 0, 0.5, exclude=(0,))
        super().__init__(verbose=False)
        self.trainable_module: RACNN = model
        self.criterion = nn.CrossEntropyLoss(label_smoothing=smoothing)
        self.margin = margin
        self.detach_coarse = detach_coarse
        self.peak_half = peak_half
        self.ranking_weight = ranking_weight
        self.follows = follow_peaks  # until the first ranking phase
        self.longest = dict(proposal=proposal_steps, classification=classification_steps, ranking=ranking_steps)
        self.window = window
        self.tolerance = tolerance
        self.phase = 'proposal' if proposal_steps else 'classification'
        self.steps = 0  # of this phase
        self.recent: list[float] = []  # the phase's last losses, at most two windows

    def forward(self, input: Tensor, target: Tensor) -> dict[str, Tensor]:
        model = self.trainable_module
        if self.phase == 'classification':
            found = model.forward_parts(input, learn_boxes=False)
        else:
            with held(child for name, child in model.named_children() if name != 'proposals'):
                found = model.forward_parts(input, learn_boxes=self.phase == 'ranking')
        wanted = [peak_squares(features, self.peak_half) for features in found.maps[:-1]]
        losses = {f'ce{index + 1}': self.criterion(logits, target) for index, logits in enumerate(found.logits)}
        losses['fusion'] = self.criterion(found.fusion, target)
        classification = torch.stack(list(losses.values())).sum()
        losses['rank'] = inter_scale_ranking_loss(found.logits, target, self.margin, self.detach_coarse)
        losses['proposal'] = F.smooth_l1_loss(torch.cat(found.squares, 1), torch.cat(wanted, 1), beta=0.1, reduction='sum') / len(input)
        if self.follows:
            classification = classification + losses['proposal']
        objectives = dict(proposal=losses['proposal'], classification=classification, ranking=self.ranking_weight * losses['rank'])
        loss = objectives[self.phase]
        if self.training:
            self._count(loss)
        return dict(loss=loss, output=found.fusion, **{name: value.detach() for name, value in losses.items()})

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
            for which the finer scale's is higher. `scale2_side`, ...: mean side of what the scale sees, as a share of the image's.
            `scale2_spread`, ...: standard deviation over the images of that region's centre, in unit coordinates.
        """
        found = self.trainable_module.forward_parts(images)
        probability = torch.stack([true_class_probability(logits, targets) for logits in found.logits])
        low, high = found.boxes[..., :2], found.boxes[..., 2:]
        values = {f'scale{index + 1}_probability': value for index, value in enumerate(probability.mean(1))}
        for index, share in enumerate((probability[1:] > probability[:-1]).float().mean(1)):
            values[f'scale{index + 2}_above_scale{index + 1}'] = share
            values[f'scale{index + 2}_side'] = (high - low)[:, index].mean()
            values[f'scale{index + 2}_spread'] = ((low + high) / 2)[:, index].std(0, correction=0).mean()
        return values


@contextmanager
def held(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Within, modules compute as in inference and what they compute leads no gradient to their parameters, only through them."""
    top = list(modules)
    parts = {part: part.training for module in top for part in module.modules()}
    learning = [parameter for module in top for parameter in module.parameters() if parameter.requires_grad]
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
