"""OSME: one squeeze, multiple excitations.

Sun et al., "Multi-Attention Multi-Class Constraint for Fine-grained Image Recognition", ECCV 2018, arXiv 1806.05372. The backbone's map is
squeezed once; P excitations each weigh its channels; every weighted map becomes one feature vector, and all of them together are
classified. What makes the excitations attend to different parts is a loss (MAMC), so it is the task's part, not the model's.
"""

from typing import Any, NamedTuple

import torch
from timm.models import generate_default_cfgs, register_model
from torch import Tensor, nn

from fgvc_zoo._errors import UserError, check_choice, check_range
from fgvc_zoo.checkpoints import trained_cfgs
from fgvc_zoo.layers import FlattenedMaps, MultiExcitation, ParallelLinear, attention_box
from fgvc_zoo.models._backbone import Backbone
from fgvc_zoo.models._base import Explanation, FineGrainedModel, Passes, backbone_cfg, build, build_over

__all__ = ['OSME']

BRANCH_POOLS = ('avg', 'flatten')
COMBINATIONS = ('sum', 'concat')


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
    """OSME over any timm backbone.

    Args:
        backbone: timm architecture.
        num_classes: Classes; 0 returns the classifier's input.
        in_chans: Input channels.
        global_pool: The squeeze: 'avg'; '' returns the map.
        img_size: Input side for backbones tied to one.
        num_attentions: P, excitations and branches.
        width: D, entries of a branch's feature vector.
        reduction: The excitations' bottleneck has C // reduction channels.
        branch_pool: How a weighted map m_p * U becomes a vector. 'avg' takes its mean over positions, which is m_p times the mean of U
            and so costs next to nothing, then a linear layer; any input size fits. 'flatten' gives every position its own weights,
            as in the paper: it ties the model to one size of map, and to 411 million parameters a branch for ResNet-50 at 448 px.
        map_size: Height and width in cells of the map that 'flatten' is tied to; None for the one at the backbone's own input size.
        combine: What the classifier sees: the 'sum' of the branches' vectors, or all of them ('concat'). Public implementations
            sum.
        stage: Backbone stage that gives the map; None is the last map before pooling.
        drop_rate: Dropout on the classifier's input.
        pretrained_backbone: True for the backbone's timm weights, or the path of a safetensors file with them.
        backbone_args: Further arguments of the timm backbone, e.g. `dict(output_stride=16)`.

    Raises:
        UserError: A choice does not exist or does not fit the backbone, or a number is out of range.
    """

    def __init__(
            self,
            backbone: str = 'resnet50',
            num_classes: int = 1000,
            in_chans: int = 3,
            global_pool: str = 'avg',
            img_size: int | tuple[int, int] | None = None,
            num_attentions: int = 2,
            width: int = 1024,
            reduction: int = 16,
            branch_pool: str = 'avg',
            map_size: tuple[int, int] | None = None,
            combine: str = 'sum',
            stage: int | None = None,
            drop_rate: float = 0.0,
            pretrained_backbone: bool | str = False,
            backbone_args: dict[str, Any] | None = None,
            device: torch.device | str | None = None,
            dtype: torch.dtype | None = None,
    ) -> None:
        for name, value, known in (('branch_pool', branch_pool, BRANCH_POOLS), ('combine', combine, COMBINATIONS)):
            check_choice(name, value, known)
        for name, count in (('num_attentions', num_attentions), ('width', width), ('reduction', reduction)):
            check_range(name, count, 1)
        body = Backbone(
            backbone, stage=stage, pretrained=pretrained_backbone, in_chans=in_chans, img_size=img_size, args=backbone_args,
            device=device, dtype=dtype)
        super().__init__(
            body, width * (num_attentions if combine == 'concat' else 1), num_classes, in_chans, global_pool, ('avg',), drop_rate,
            device, dtype)
        self.num_attentions = num_attentions
        self.branch_pool = branch_pool
        self.combine = combine
        map_height, map_width = map_size or body.map_size
        cells = map_height * map_width if branch_pool == 'flatten' else 1
        channels = body.num_features
        self.excitation: nn.Module = MultiExcitation(channels, num_attentions, reduction, device=device, dtype=dtype)
        self.flatten = FlattenedMaps(map_height, map_width)
        self.branches: nn.Module = ParallelLinear(num_attentions, channels * cells, width, device=device, dtype=dtype)

    def branch_features(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map U (B, C, h, w) -> branches' vectors f (B, P, width), excitations m (B, P, C)."""
        squeezed = features.mean((2, 3))
        excitations = self.excitation(squeezed)
        if self.branch_pool == 'flatten':
            return self.branches(self.flatten(features, excitations)), excitations
        return self.branches(squeezed.unsqueeze(1) * excitations), excitations

    def join(self, branches: Tensor) -> Tensor:
        """Branches' vectors (B, P, width) -> the classifier's input (B, head_hidden_size)."""
        return branches.flatten(1) if self.combine == 'concat' else branches.sum(1)

    def embed(self, features: Tensor) -> Tensor:
        """Map (B, C, h, w) -> the classifier's input (B, head_hidden_size)."""
        branches, _ = self.branch_features(features)
        return self.join(branches)

    @torch.jit.ignore
    def forward_parts(self, x: Tensor) -> OSMEOutput:
        """Images (B, in_chans, H, W), with what the losses need."""
        branches, excitations = self.branch_features(self.forward_features(x))
        return OSMEOutput(self.classifier(self.drop(self.join(branches))), branches, excitations)

    @torch.jit.ignore
    def branch_logits(self, branches: Tensor) -> Tensor:
        """What each branch says alone: the classifier fed with P times that branch and nothing of the others.

        Since joining and classifying are linear, the logits of all branches together are the mean of these; P times, so that a
        branch alone is weighed against the classifier's bias as all of them are.

        Args:
            branches: Vectors (B, P, width).

        Returns:
            Logits (B, P, num_classes).
        """
        alone = self.num_attentions * torch.eye(self.num_attentions, dtype=branches.dtype, device=branches.device)
        return torch.stack([self.classifier(self.join(branches * chosen[:, None])) for chosen in alone], 1)

    @torch.jit.ignore
    def forward_passes(self, x: Tensor) -> Passes:
        """All branches together, and each alone ('branch1', 'branch2', ...; see `branch_logits`)."""
        output = self.forward_parts(x)
        alone = self.branch_logits(output.features)
        return Passes(output.logits, {f'branch{index + 1}': alone[:, index] for index in range(self.num_attentions)}, None)

    @torch.jit.ignore
    @torch.no_grad()
    def explain(self, x: Tensor) -> Explanation:
        """What each branch found for the predicted class, position by position, and the box where that is at least half its maximum.

        With the excitations held, a branch's share of a logit is a sum over positions and channels of m_p * U, each with the weight
        that the branch's layer and the classifier give it. A map is that sum over channels, in favour of the predicted class over
        the mean of all classes (what they have in common changes no probability), where it is positive, up to a factor. Like a
        class activation map, per excitation.

        Raises:
            UserError: The model has no classes.
        """
        if not isinstance(self.classifier, nn.Linear):
            raise UserError('explaining an OSME model needs its classifier, and this one has no classes')
        features = self.forward_features(x)
        branches, excitations = self.branch_features(features)
        predicted = self.classifier(self.join(branches)).argmax(1)
        weight = self.classifier.weight.float()
        favour = (weight - weight.mean(0))[predicted].unflatten(1, (-1, branches.shape[2]))  # (B, P, width) or (B, 1, width)
        favour = favour.expand_as(branches)
        layers: Any = self.branches.layers
        gain = torch.stack([favour[:, index] @ layer.weight.float() for index, layer in enumerate(layers)], 1)
        gain = gain.unflatten(2, (features.shape[1], -1))  # (B, P, C, 1), or one weight a position
        weighted = excitations.unsqueeze(3).float() * features.flatten(2).unsqueeze(1).float()
        maps = (gain * weighted).sum(2).relu().unflatten(2, features.shape[2:])
        half = torch.tensor(0.5, device=maps.device)
        boxes = torch.stack([attention_box(maps[:, index], half, 0.0, x.shape[2], x.shape[3]) for index in range(maps.shape[1])], 1)
        names = [f'excitation {index + 1}' for index in range(self.num_attentions)]
        return Explanation(maps, boxes, names, names)

    def _remove_head(self) -> None:
        super()._remove_head()
        self.excitation = nn.Identity()
        self.branches = nn.Identity()


_PAPER: dict[str, Any] = dict(
    paper_name='Multi-Attention Multi-Class Constraint for Fine-grained Image Recognition', paper_ids='arXiv:1806.05372')
_CFGS = {
    'osme': backbone_cfg('resnet50', pool_size=(7, 7), **_PAPER),
    'osme_resnet50': backbone_cfg('resnet50', input_size=448, pool_size=(14, 14), **_PAPER),
    'osme_resnet101': backbone_cfg('resnet101', input_size=448, pool_size=(14, 14), **_PAPER),
    'osme_tf_efficientnet_lite0': backbone_cfg('tf_efficientnet_lite0', pool_size=(7, 7), **_PAPER),
    'osme_convnext_tiny': backbone_cfg('convnext_tiny', pool_size=(7, 7), **_PAPER),
}
default_cfgs = generate_default_cfgs(trained_cfgs(_CFGS))


@register_model
def osme(pretrained: bool = False, **kwargs: Any) -> OSME:
    """OSME over any timm model: `timm.create_model('osme', backbone='convnextv2_tiny')`."""
    return build_over(OSME, 'osme', pretrained, kwargs)


@register_model
def osme_resnet50(pretrained: bool = False, **kwargs: Any) -> OSME:
    """The paper's ResNet-50 (14x14 for 448 px)."""
    return build(OSME, 'osme_resnet50', pretrained, kwargs, backbone='resnet50', map_size=(14, 14))


@register_model
def osme_resnet101(pretrained: bool = False, **kwargs: Any) -> OSME:
    """The paper's ResNet-101 (14x14 for 448 px)."""
    return build(OSME, 'osme_resnet101', pretrained, kwargs, backbone='resnet101', map_size=(14, 14))


@register_model
def osme_tf_efficientnet_lite0(pretrained: bool = False, **kwargs: Any) -> OSME:
    """EfficientNet-Lite0: small and fast; branches 768 wide keep a published checkpoint below 12 MB in half precision."""
    return build(OSME, 'osme_tf_efficientnet_lite0', pretrained, kwargs, backbone='tf_efficientnet_lite0', width=768)


@register_model
def osme_convnext_tiny(pretrained: bool = False, **kwargs: Any) -> OSME:
    """ConvNeXt-Tiny: a modern CNN; its features are signed."""
    return build(OSME, 'osme_convnext_tiny', pretrained, kwargs, backbone='convnext_tiny')
