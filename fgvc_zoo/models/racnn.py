"""RA-CNN: recurrent attention convolutional neural network.

Fu et al., "Look Closer to See Better", CVPR 2017. Scale 1 sees the image; a small network on its map proposes the square that deserves a
closer look; scale 2 sees that square enlarged and proposes a square of its own; and so on. Every scale has its own network and
classifier, and the descriptors of all scales are classified together.

How it is trained (classification and ranking in turns) is the task's part, not the model's.
"""

import copy
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from timm.models import generate_default_cfgs, register_model, register_notrace_function
from torch import Tensor, nn
from torch.nn import functional as F

from fgvc_zoo._errors import UserError, check_choice, check_range
from fgvc_zoo.checkpoints import trained_cfgs
from fgvc_zoo.layers import AttentionProposal, attended_crop, nested_squares, paste_maps, response_map, square_boxes
from fgvc_zoo.models._backbone import Backbone
from fgvc_zoo.models._base import Explanation, FineGrainedModel, Passes, backbone_cfg, build, build_over

__all__ = ['RACNN']

CUTS = ('image', 'crop')
BOX_GRADIENTS = ('mask', 'total')
JOINTS = ('fusion', 'mean')
_BACKBONES = re.compile(r'^backbones\.\d+\.')


class RACNNOutput(NamedTuple):
    """What training needs of one pass over S scales.

    Attributes:
        logits: Of each scale, (B, num_classes).
        fusion: Of all scales' descriptors together, (B, num_classes).
        maps: Each scale's map (B, C, h, w).
        descriptors: Each scale's pooled map (B, C).
        squares: What scales 2 to S see, (B, 3) each, in coordinates of what the scale before sees.
        boxes: The same in the image (B, S - 1, 4), unit xyxy coordinates, float32.
    """

    logits: list[Tensor]
    fusion: Tensor
    maps: list[Tensor]
    descriptors: list[Tensor]
    squares: list[Tensor]
    boxes: Tensor


class RACNN(FineGrainedModel):
    """RA-CNN over any timm backbone.

    timm's `forward_features`, `forward_head`, `forward_intermediates` and `get_classifier` are about scale 1, whose descriptor is also what
    `num_classes=0` returns; `forward_parts` has all scales.

    Attributes:
        backbone: Scale 1's network.
        backbones: Those of scales 2 to S; they begin as copies of it.
        proposals: Attention proposal networks of scales 1 to S - 1.
        classifier: Scale 1's; `classifiers` are those of scales 2 to S, `fusion` is that of all descriptors.

    Args:
        backbone: timm architecture.
        num_classes: Classes; 0 returns scale 1's descriptor.
        in_chans: Input channels.
        global_pool: How a map becomes a descriptor: 'avg'; '' returns scale 1's map.
        img_size: Input side for backbones tied to one.
        num_scales: S, 2 to 4.
        crop_size: Side in pixels of what the finer scales see; 0 for that of the images.
        cut_from: What a finer scale's square is cut out of: the 'image', so that no pixel is enlarged twice, or the 'crop' that the scale
            before sees, as in the public network definition. Scale 2 is the same with both.
        mask_steepness: k of the soft box mask, per unit of the side of what the scale before sees (see `attended_crop`).
        masked: Multiply what a finer scale sees by the soft mask, as in the paper. The mask dims a square towards its edges: with k = 10 a
            square of 0.7 of the side keeps 1/2 at an edge and 1/4 in a corner. False shows it as it is, as the public network definition
            does, and the mask is only what gradients go through; they then hardly say what the loss does when a square moves.
        box_gradient: How squares learn: through the 'mask' of the paper's equation, or by the 'total' derivative of the crop. Both are
            signed derivatives, which the rule in circulation is not (see `attended_crop`).
        proposal_grid: Cells a side that a proposal network sees of its map.
        proposal_channels: Channels that it sees of it, after a 1x1 convolution; 0 for all.
        proposal_width: Entries of its hidden layer.
        joint: What all scales together answer: the 'fusion' classifier of their descriptors, as in the paper, or the 'mean' of every
            scale's own probabilities, which has nothing of its own to overfit.
        feature_scale: Each descriptor has this length where all are classified together, so that none outweighs the others.
        stage: Backbone stage that gives the maps; None is the last map before pooling.
        drop_rate: Dropout on the classifiers' inputs.
        pretrained_backbone: True for the backbone's timm weights, or the path of a safetensors file with them; every scale starts from
            them.
        backbone_args: Further arguments of the timm backbone, e.g. `dict(drop_path_rate=0.1)`.

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
            num_scales: int = 3,
            crop_size: int = 0,
            cut_from: str = 'image',
            mask_steepness: float = 10.0,
            masked: bool = True,
            box_gradient: str = 'mask',
            proposal_grid: int = 7,
            proposal_channels: int = 64,
            proposal_width: int = 256,
            joint: str = 'fusion',
            feature_scale: float = 10.0,
            stage: int | None = None,
            drop_rate: float = 0.0,
            pretrained_backbone: bool | str = False,
            backbone_args: dict[str, Any] | None = None,
            device: torch.device | str | None = None,
            dtype: torch.dtype | None = None,
    ) -> None:
        for name, value, known in (('cut_from', cut_from, CUTS), ('box_gradient', box_gradient, BOX_GRADIENTS), ('joint', joint, JOINTS)):
            check_choice(name, value, known)
        if not 2 <= num_scales <= 4:
            raise UserError(f'num_scales must be 2, 3 or 4, not {num_scales}')
        check_range('mask_steepness', mask_steepness, 0, exclude=(0,))
        check_range('crop_size', crop_size, 0)
        check_range('proposal_grid', proposal_grid, 1)
        check_range('proposal_channels', proposal_channels, 0)
        check_range('proposal_width', proposal_width, 1)
        body = Backbone(
            backbone, stage=stage, pretrained=pretrained_backbone, in_chans=in_chans, img_size=img_size, args=backbone_args,
            device=device, dtype=dtype)
        super().__init__(body, body.num_features, num_classes, in_chans, global_pool, ('avg',), drop_rate, device, dtype)
        self.num_scales = num_scales
        self.crop_size = crop_size
        self.cut_from = cut_from
        self.mask_steepness = mask_steepness
        self.masked = masked
        self.box_gradient = box_gradient
        self.joint = joint
        self.feature_scale = feature_scale
        self.backbones = nn.ModuleList(copy.deepcopy(body) for _ in range(num_scales - 1))
        self.proposals = nn.ModuleList(
            AttentionProposal(body.num_features, proposal_grid, proposal_channels, proposal_width, device=device, dtype=dtype)
            for _ in range(num_scales - 1))
        first = body.pretrained_cfg.get('first_conv') or ()
        first = (first,) if isinstance(first, str) else first
        # where timm looks for what depends on the number of input channels
        self._traits = dict(first_conv=tuple(f'{network}.model.{name}' for network in _networks(num_scales) for name in first))
        self._add_classifiers()

    def _add_classifiers(self) -> None:
        """New classifiers beside scale 1's, on its device."""
        reference = next(self.backbone.parameters())

        def linear(in_features: int) -> nn.Module:
            if self.num_classes == 0:
                return nn.Identity()
            return nn.Linear(in_features, self.num_classes, device=reference.device, dtype=reference.dtype)

        self.classifiers = nn.ModuleList(linear(self.head_hidden_size) for _ in self.backbones).train(self.training)
        self.fusion = linear(self.num_scales * self.head_hidden_size).train(self.training)

    def embed(self, features: Tensor) -> Tensor:
        """Map (B, C, h, w) -> descriptor (B, C)."""
        return features.mean((2, 3))

    def fuse(self, descriptors: list[Tensor]) -> Tensor:
        """Every scale's descriptor (B, C) -> logits of all together (B, num_classes)."""
        return self.fusion(self.drop(joint_descriptor(descriptors, self.feature_scale)))

    def look(self, x: Tensor, learn_boxes: bool = True) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Images (B, in_chans, H, W) -> every scale's map, and what each finer scale sees.

        Args:
            x: Images, normalised.
            learn_boxes: Let gradients of the finer scales reach the squares and what proposed them.

        Returns:
            S maps (B, C, h, w); S - 1 squares (B, 3) in coordinates of what the scale before sees; the same squares in coordinates of
            the image.
        """
        maps = [self.backbone(x)]
        squares: list[Tensor] = []
        regions: list[Tensor] = []
        crop = x
        height = self.crop_size if self.crop_size > 0 else x.shape[2]
        width = self.crop_size if self.crop_size > 0 else x.shape[3]
        parent: Tensor | None = None
        for proposal, backbone in zip(self.proposals, self.backbones):  # noqa: B905  (TorchScript knows no strict)
            square = proposal(maps[-1])
            if not learn_boxes:
                square = square.detach()
            source = crop if self.cut_from == 'crop' else x
            frame = parent if self.cut_from == 'image' else None
            crop = attended_crop(source, square, height, width, self.mask_steepness, frame, self.box_gradient == 'mask', self.masked)
            maps.append(backbone(crop))
            squares.append(square)
            region = square if parent is None else nested_squares(parent, square)
            regions.append(region)
            parent = region
        return maps, squares, regions

    def classify(self, descriptors: list[Tensor]) -> list[Tensor]:
        """Every scale's descriptor (B, C) -> its own logits (B, num_classes)."""
        logits = [self.classifier(self.drop(descriptors[0]))]
        for index, classifier in enumerate(self.classifiers):
            logits.append(classifier(self.drop(descriptors[index + 1])))
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W), normalised -> logits (B, num_classes).

        In eval mode those of all scales together (see `joint`). In train mode the mean of these and of every scale's own, so that training
        on nothing but this output reaches every layer; the method's own training is the task's.
        """
        if self.num_classes == 0 or self.global_pool == '':
            return self.forward_head(self.forward_features(x))
        maps, _, _ = self.look(x)
        descriptors = [self.embed(features) for features in maps]
        if self.training:
            return torch.stack([self.fuse(descriptors)] + self.classify(descriptors)).mean(0)
        if self.joint == 'mean':
            return _mean_prediction(self.classify(descriptors))
        return self.fuse(descriptors)

    @torch.jit.ignore
    def forward_parts(self, x: Tensor, learn_boxes: bool = True) -> RACNNOutput:
        """All scales of images (B, in_chans, H, W), with what the losses need. `learn_boxes` as in `look`."""
        maps, squares, regions = self.look(x, learn_boxes)
        descriptors = [self.embed(features) for features in maps]
        boxes = torch.stack([square_boxes(region) for region in regions], 1)
        return RACNNOutput(self.classify(descriptors), self.fuse(descriptors), maps, descriptors, squares, boxes)

    @torch.jit.ignore
    def forward_passes(self, x: Tensor) -> Passes:
        """Each scale alone ('scale1', ...), the mean of the first ones' probabilities ('scale1+2', ...), and the classifier of all
        descriptors ('fusion'); with what scale 2 sees.
        """
        output = self.forward_parts(x)
        parts = {f'scale{index + 1}': logits for index, logits in enumerate(output.logits)}
        for count in range(2, self.num_scales + 1):
            parts['scale' + '+'.join(str(index + 1) for index in range(count))] = _mean_prediction(output.logits[:count])
        combined = list(parts.values())[-1] if self.joint == 'mean' else output.fusion
        return Passes(combined, {**parts, 'fusion': output.fusion}, output.boxes[:, 0])

    @torch.jit.ignore
    @torch.no_grad()
    def explain(self, x: Tensor) -> Explanation:
        """Where each scale's map responds (mean magnitude over channels), drawn in the image, and what the finer scales see."""
        maps, _, regions = self.look(x)
        height, width = 4 * maps[0].shape[2], 4 * maps[0].shape[3]  # finer than the map: the regions are only a part of it
        whole = torch.full_like(regions[0], 0.5)
        responses = [paste_maps(response_map(features), region, height, width)
                     for features, region in zip(maps, [whole, *regions], strict=True)]
        names = [f'scale {index + 1}' for index in range(self.num_scales)]
        return Explanation(
            torch.stack(responses, 1), torch.stack([square_boxes(region) for region in regions], 1).float(), names, names[1:])

    @torch.jit.ignore
    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace all classifiers."""
        super().reset_classifier(num_classes, global_pool)
        self._add_classifiers()

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory in every scale's backbone (raises where the backbone cannot)."""
        super().set_grad_checkpointing(enable)
        backbones: Any = self.backbones
        for backbone in backbones:
            backbone.model.set_grad_checkpointing(enable)

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> Callable[[str], int]:
        """As the base class; a layer has the same depth in every scale's network."""
        depth = super().group_matcher(coarse)
        return lambda name: depth(_BACKBONES.sub('backbone.', name))

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        """Parameters that the backbone's authors exempt from weight decay, in every scale's network."""
        names = super().no_weight_decay()
        return {name.replace('backbone.', f'{scale}.', 1) for name in names for scale in _networks(len(self.backbones) + 1)}

    def _remove_head(self) -> None:
        self.backbones = nn.ModuleList()
        self.proposals = nn.ModuleList()
        super()._remove_head()


@register_notrace_function  # a leaf for symbolic tracing, which cannot follow choices by dtype
def joint_descriptor(descriptors: list[Tensor], scale: float) -> Tensor:
    """Descriptors (B, C) of S scales, each brought to length `scale` on its own -> (B, S * C) in their dtype."""
    joint = []
    for descriptor in descriptors:
        joint.append(scale * F.normalize(descriptor if descriptor.dtype == torch.float64 else descriptor.float(), dim=1))
    return torch.cat(joint, 1).to(descriptors[0].dtype)


def _mean_prediction(logits: list[Tensor]) -> Tensor:
    """Log of the mean of several predictions' probabilities (B, K), as `mean_prediction` of two."""
    each = torch.stack([scale.float().log_softmax(1) for scale in logits])
    return (each.logsumexp(0) - math.log(len(logits))).to(logits[0].dtype)


def _networks(num_scales: int) -> list[str]:
    """Names of the scales' networks in the model."""
    return ['backbone', *(f'backbones.{index}' for index in range(num_scales - 1))]


def _classifiers(num_scales: int) -> tuple[str, ...]:
    """Names of the classifiers in the model."""
    return ('classifier', *(f'classifiers.{index}' for index in range(num_scales - 1)), 'fusion')


def _cfg(backbone: str, **overrides: Any) -> dict[str, Any]:
    return backbone_cfg(
        backbone, classifier=_classifiers(3), paper_name='Look Closer to See Better: Recurrent Attention Convolutional Neural Network',
        **overrides)


def _build(variant: str, pretrained: bool, choices: dict[str, Any], **defaults: Any) -> RACNN:
    # only the bare name has no arguments of its own
    model = build(RACNN, variant, pretrained, choices, **defaults) if defaults else build_over(RACNN, variant, pretrained, choices)
    if isinstance(model, RACNN):  # and not only its features
        model.pretrained_cfg.update(classifier=_classifiers(model.num_scales), first_conv=model._traits['first_conv'])
    return model


_CFGS = {
    'racnn': _cfg('resnet50', pool_size=(7, 7)),
    'racnn_vgg19': _cfg('vgg19', input_size=448, pool_size=(28, 28)),
    'racnn_resnet50': _cfg('resnet50', input_size=448, pool_size=(14, 14)),
    'racnn_tf_efficientnet_lite0': _cfg('tf_efficientnet_lite0', pool_size=(7, 7)),
    'racnn_convnext_tiny': _cfg('convnext_tiny', pool_size=(7, 7)),
}
default_cfgs = generate_default_cfgs(trained_cfgs(_CFGS))


@register_model
def racnn(pretrained: bool = False, **kwargs: Any) -> RACNN:
    """RA-CNN over any timm model: `timm.create_model('racnn', backbone='convnextv2_tiny')`."""
    return _build('racnn', pretrained, kwargs)


@register_model
def racnn_vgg19(pretrained: bool = False, **kwargs: Any) -> RACNN:
    """The paper's VGG-19: scale 1 sees 448 px, the finer ones 224 px; maps of 28x28 and 14x14 cells from the last convolution.

    `proposal_channels=0` gives the proposal networks all channels, which is 103 million weights each.
    """
    return _build('racnn_vgg19', pretrained, kwargs, backbone='vgg19', stage=-2, crop_size=224, proposal_grid=14, proposal_width=1024)


@register_model
def racnn_resnet50(pretrained: bool = False, **kwargs: Any) -> RACNN:
    """ResNet-50: scale 1 sees 448 px, the finer ones 224 px."""
    return _build('racnn_resnet50', pretrained, kwargs, backbone='resnet50', crop_size=224)


@register_model
def racnn_tf_efficientnet_lite0(pretrained: bool = False, **kwargs: Any) -> RACNN:
    """EfficientNet-Lite0: small and fast; three of them and two proposal networks are about 25 MB in half precision."""
    return _build('racnn_tf_efficientnet_lite0', pretrained, kwargs, backbone='tf_efficientnet_lite0')


@register_model
def racnn_convnext_tiny(pretrained: bool = False, **kwargs: Any) -> RACNN:
    """ConvNeXt-Tiny: a modern CNN; its features are signed."""
    return _build('racnn_convnext_tiny', pretrained, kwargs, backbone='convnext_tiny')
