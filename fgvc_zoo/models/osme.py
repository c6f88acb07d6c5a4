"""OSME: one squeeze, multiple excitations.

Sun et al., "Multi-Attention Multi-Class Constraint for Fine-grained Image Recognition", ECCV 2018, arXiv 1806.05372.
The backbone's map is squeezed once; P excitations each weigh its channels; every weighted map becomes one feature
vector; their sum is classified. The loss that makes the excitations attend to different parts (MAMC) is in the task.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fgvc_zoo._errors import check_choice, check_range
from fgvc_zoo.layers import FlattenedMaps, MultiExcitation, ParallelLinear, PositionPool, half_maximum_boxes
from fgvc_zoo.models.base import Explanation, FineGrainedModel, Paper, Passes
from fgvc_zoo.models.registry import Variant, register_method

BRANCH_POOLS = ('avg', 'max', 'depthwise', 'flatten')


class OSMEOutput(NamedTuple):
    """What training needs of one pass.

    Attributes:
        logits: (B, num_classes).
        features: f, one vector a branch (B, P, width).
        excitations: m, the channels' weights (B, P, C), in (0, 1).
    """

    logits: Tensor
    features: Tensor
    excitations: Tensor


class OSME(FineGrainedModel):
    """OSME over any timm backbone. The branches' vectors are summed, as in public implementations.

    Args:
        num_attentions: P, excitations and branches.
        width: D, entries of a branch's feature vector.
        reduction: The excitations' bottleneck has C // reduction channels.
        branch_pool: How a weighted map m_p * U becomes a vector. 'avg': a linear layer on its mean over positions.
            'max': a linear layer on every position, then each entry's maximum over positions, so that a branch selects
            regions. 'depthwise': a linear layer on a weighted sum over positions (see `PositionPool`). 'flatten', as in
            the paper: a linear layer on all positions, which ties the model to one size of map (411 million parameters
            for ResNet-50 at 448 px).
        map_size: Cells (height, width) of the map for 'flatten', of the grid of weights for 'depthwise'; None for the
            map at the backbone's own input size.
        shared: Arguments of `FineGrainedModel`.

    Raises:
        UserError: A choice does not exist or does not fit the backbone, or a number is out of range.
    """

    method = 'osme'

    def __init__(
            self,
            num_attentions: int = 2,
            width: int = 1024,
            reduction: int = 16,
            branch_pool: str = 'avg',
            map_size: tuple[int, int] | None = None,
            **shared: Any,
    ) -> None:
        check_choice('branch_pool', branch_pool, BRANCH_POOLS)
        for name, count in (('num_attentions', num_attentions), ('width', width), ('reduction', reduction)):
            check_range(name, count, 1)
        super().__init__(**shared)
        self.add_classifier(width)
        self.num_attentions = num_attentions
        self.branch_pool = branch_pool
        rows, columns = map_size or self.backbone.map_size
        cells = rows * columns if branch_pool == 'flatten' else 1
        dd = self.like_backbone()
        self.positions: nn.Module = nn.Identity()
        if branch_pool == 'depthwise':
            self.positions = PositionPool(self.num_features, num_attentions, rows, columns, **dd)
        self.excitation: nn.Module = MultiExcitation(self.num_features, num_attentions, reduction, **dd)
        self.flatten = FlattenedMaps(rows, columns)
        self.branches: nn.Module = ParallelLinear(num_attentions, self.num_features * cells, width, **dd)

    def branch_features(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map U (B, C, h, w) -> branches' vectors f (B, P, width), excitations m (B, P, C)."""
        squeezed = features.mean((2, 3))
        excitations = self.excitation(squeezed)
        if self.branch_pool == 'flatten':
            return self.branches(self.flatten(features, excitations)), excitations
        if self.branch_pool == 'max':
            return self.position_features(features, excitations).amax(2), excitations
        if self.branch_pool == 'depthwise':
            return self.branches(self.positions(features) * excitations), excitations
        return self.branches(squeezed.unsqueeze(1) * excitations), excitations

    def position_features(self, features: Tensor, excitations: Tensor) -> Tensor:
        """Map (B, C, h, w), excitations (B, P, C) -> each branch's vector at each position (B, P, h * w, width)."""
        return self.branches(features.flatten(2).transpose(1, 2).unsqueeze(1) * excitations.unsqueeze(2))

    def embed(self, features: Tensor) -> Tensor:
        """Map (B, C, h, w) -> the classifier's input (B, width), the sum of the branches' vectors."""
        branches, _ = self.branch_features(features)
        return branches.sum(1)

    @torch.jit.ignore
    def forward_parts(self, x: Tensor) -> OSMEOutput:
        """Images (B, in_chans, H, W), with what the losses need."""
        branches, excitations = self.branch_features(self.forward_features(x))
        return OSMEOutput(self.classifier(self.drop(branches.sum(1))), branches, excitations)

    @torch.jit.ignore
    def branch_logits(self, branches: Tensor) -> Tensor:
        """Vectors (B, P, width) -> logits (B, P, num_classes) of each branch alone; their mean is the logits."""
        return self.classifier(self.num_attentions * branches)

    @torch.jit.ignore
    def forward_passes(self, x: Tensor) -> Passes:
        """All branches together, and each alone ('branch1', 'branch2', ...; see `branch_logits`)."""
        output = self.forward_parts(x)
        alone = self.branch_logits(output.features).unbind(1)
        parts = {f'branch{index + 1}': logits for index, logits in enumerate(alone)}
        return Passes(output.logits, parts, None)

    @torch.jit.ignore
    @torch.no_grad()
    def forward_explained(self, x: Tensor) -> tuple[Tensor, Explanation]:
        """Logits; what all branches and each one contribute to the predicted class at each position, and the boxes of at least half
        of each branch's; the predictions of each branch alone.

        With the excitations held, a branch's share of a logit is a sum over positions: of m_p * U weighted by channel, or
        with 'max' of the entries that have their maximum there. A map is that share at each position, where positive: a
        class activation map per excitation, up to a factor.

        Raises:
            UserError: The model has no classes.
        """
        features = self.forward_features(x)
        branches, excitations = self.branch_features(features)
        favoured = self.favoured_weights(branches.sum(1))
        shares = self._shares(features, excitations, favoured)
        maps = torch.cat([shares.sum(1, keepdim=True), shares], 1).relu().unflatten(2, features.shape[2:])
        names = [f'excitation {index + 1}' for index in range(self.num_attentions)]
        looks = dict(zip(names, self.branch_logits(branches).unbind(1), strict=True))
        boxes = half_maximum_boxes(maps[:, 1:], x.shape[2], x.shape[3])
        return self.classifier(self.drop(branches.sum(1))), Explanation(maps, boxes, ['class activation', *names], names, looks)

    def _shares(self, features: Tensor, excitations: Tensor, favoured: Tensor) -> Tensor:
        """What each position adds to a weighted sum (B, width) of a branch's vector: (B, P, h * w) float32."""
        if self.branch_pool == 'max':
            values, place = self.position_features(features, excitations).float().max(2)
            return torch.zeros_like(features.flatten(2)[:, :1], dtype=torch.float32).expand(-1, self.num_attentions, -1).scatter_add(
                2, place, favoured.unsqueeze(1) * values)
        layers: Any = self.branches.layers
        gain = torch.stack([favoured @ layer.weight.float() for layer in layers], 1)
        gain = gain.unflatten(2, (features.shape[1], -1))  # (B, P, C, 1), or one weight a position
        if self.branch_pool == 'depthwise':
            positions: Any = self.positions
            gain = gain * positions.weights(*features.shape[2:]).flatten(2).float()
        return (gain * excitations.unsqueeze(3).float() * features.flatten(2).unsqueeze(1).float()).sum(2)

    def _remove_head(self) -> None:
        super()._remove_head()
        self.excitation = nn.Identity()
        self.positions = nn.Identity()
        self.branches = nn.Identity()


register_method(
    OSME,
    Paper('Multi-Attention Multi-Class Constraint for Fine-grained Image Recognition', '1806.05372',
          'OSME with MAMC: several excitations of one backbone attend to different parts; a metric loss over pairs of '
          'images keeps them apart.',
          'Sun, Yuan, Zhou, Ding: Multi-Attention Multi-Class Constraint for Fine-grained Image Recognition. ECCV 2018'),
    {
        'resnet50': Variant("The paper's ResNet-50 at 448 px.", dict(map_size=(14, 14)), dict(input_size=448)),
        'resnet101': Variant("The paper's ResNet-101 at 448 px.", dict(map_size=(14, 14)), dict(input_size=448)),
        'tf_efficientnet_lite0': Variant(
            'EfficientNet-Lite0: small and fast; branches 768 wide keep a checkpoint below 12 MB in half precision.',
            args=dict(width=768)),
        'convnext_tiny': Variant('ConvNeXt-Tiny: a modern CNN; its features are signed.'),
    })
