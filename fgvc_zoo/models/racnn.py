"""RA-CNN: recurrent attention convolutional neural network.

Fu et al., "Look Closer to See Better", CVPR 2017. Scale 1 gets the image; a small network on its map proposes a square;
scale 2 gets that square, enlarged, and proposes a square of its own; and so on. Every scale has its own network and
classifier, and the descriptors of all scales are classified together. The training (classification and ranking in
turns) is in the task.
"""

import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fgvc_zoo._errors import check_choice, check_range
from fgvc_zoo.layers import (
    AttentionProposal,
    attended_crop,
    joint_descriptor,
    mean_prediction,
    nested_squares,
    paste_maps,
    response_map,
    square_boxes,
)
from fgvc_zoo.models.base import Explanation, FineGrainedModel, Paper, Passes
from fgvc_zoo.models.registry import Variant, register_method


class RACNNOutput(NamedTuple):
    """What training needs of one pass over S scales.

    Attributes:
        logits: Of each scale, (B, num_classes).
        fusion: Of all scales' descriptors together, (B, num_classes). Its gradient reaches the fusion classifier only.
        maps: Each scale's map (B, C, h, w).
        squares: Proposals (B, 3) of scales 1 to S - 1, in coordinates of that scale's input; always with gradient.
        boxes: The same in the image (B, S - 1, 4), unit xyxy coordinates, float32; with gradient if `learn_boxes`.
    """

    logits: list[Tensor]
    fusion: Tensor
    maps: list[Tensor]
    squares: list[Tensor]
    boxes: Tensor


class RACNN(FineGrainedModel):
    """RA-CNN over any timm backbone.

    timm's `forward_features`, `forward_head`, `forward_intermediates` and `get_classifier` are about scale 1, whose
    descriptor is also what `num_classes=0` returns; `forward_parts` has all scales.

    Attributes:
        backbone: Scale 1's network.
        backbones: Those of scales 2 to S; they begin as copies of it.
        proposals: Attention proposal networks of scales 1 to S - 1.
        classifier: Scale 1's; `classifiers` are those of scales 2 to S, `fusion` is that of all descriptors.

    Args:
        num_scales: S, 2 to 4.
        crop_size: Input side in pixels of the finer scales; 0 for that of the images.
        masked: Multiply a finer scale's input by the soft mask, as in the paper: about 1/2 at the edges. False uses the
            mask for gradients only, as the public network definition does; they are less accurate then.
        joint: The prediction of all scales together: the 'fusion' classifier of their descriptors, as in the paper, or
            the 'mean' of every scale's own probabilities, which has no parameters to overfit.
        proposal_grid: A proposal network pools its map to this many cells a side.
        proposal_channels: A 1x1 convolution first reduces the map to this many channels; 0 for all.
        proposal_width: Entries of its hidden layer.
        shared: Arguments of `FineGrainedModel`.
    """

    method = 'racnn'

    def __init__(
            self,
            num_scales: int = 3,
            crop_size: int = 0,
            masked: bool = True,
            joint: str = 'fusion',
            proposal_grid: int = 7,
            proposal_channels: int = 64,
            proposal_width: int = 256,
            **shared: Any,
    ) -> None:
        check_choice('joint', joint, ('fusion', 'mean'))
        check_range('num_scales', num_scales, 2, 4)
        for name, value, least in (('crop_size', crop_size, 0), ('proposal_grid', proposal_grid, 1),
                                   ('proposal_channels', proposal_channels, 0), ('proposal_width', proposal_width, 1)):
            check_range(name, value, least)
        super().__init__(**shared)
        self.add_classifier(self.num_features)
        self.num_scales = num_scales
        self.crop_size = crop_size
        self.masked = masked
        self.joint = joint
        self.backbones = nn.ModuleList(copy.deepcopy(self.backbone) for _ in range(num_scales - 1))
        self.proposals = nn.ModuleList(
            AttentionProposal(
                self.num_features, proposal_grid, proposal_channels, proposal_width, **self.like_backbone())
            for _ in range(num_scales - 1))
        first = self.backbone.pretrained_cfg.get('first_conv') or ()
        names = (first,) if isinstance(first, str) else first
        # where timm looks for what depends on the number of input channels
        self._traits = dict(first_conv=tuple(f'{network}.{name}' for network in self._networks() for name in names))
        self._add_classifiers()

    def _add_classifiers(self) -> None:
        """New classifiers beside scale 1's."""
        width = self.head_hidden_size
        self.classifiers = nn.ModuleList(self.linear(width) for _ in self.backbones).train(self.training)
        self.fusion = self.linear(self.num_scales * width).train(self.training)

    def embed(self, features: Tensor) -> Tensor:
        """Map (B, C, h, w) -> descriptor (B, C)."""
        return features.mean((2, 3))

    def fuse(self, descriptors: list[Tensor]) -> Tensor:
        """Every scale's descriptor (B, C) -> logits of all together (B, num_classes)."""
        return self.fusion(self.drop(joint_descriptor(descriptors)))

    def combine(self, descriptors: list[Tensor]) -> Tensor:
        """Every scale's descriptor (B, C) -> the prediction of all together (B, num_classes), as `joint` says."""
        if self.joint == 'mean':
            return mean_prediction(self.classify(descriptors))
        return self.fuse(descriptors)

    def forward_scales(self, x: Tensor, learn_boxes: bool = True) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Images (B, in_chans, H, W) -> S maps (B, C, h, w); S - 1 proposals (B, 3) in coordinates of the proposing
        scale's input, and in coordinates of the image.

        With `learn_boxes` gradients of the finer scales reach the proposals, and gradients of the proposals the maps.
        Otherwise a proposal's gradient reaches its own network only.
        """
        maps = [self.backbone(x)]
        squares: list[Tensor] = []
        regions: list[Tensor] = []
        parent: Tensor | None = None
        for proposal, backbone in zip(self.proposals, self.backbones):  # noqa: B905  (TorchScript knows no strict)
            square = proposal(maps[-1] if learn_boxes else maps[-1].detach())
            squares.append(square)
            if not learn_boxes:
                square = square.detach()
            crop, parent = self.zoom(x, square, parent)
            maps.append(backbone(crop))
            regions.append(parent)
        return maps, squares, regions

    def zoom(self, x: Tensor, square: Tensor, parent: Tensor | None) -> tuple[Tensor, Tensor]:
        """Images and a proposal (B, 3) -> the next scale's input (B, in_chans, crop_size, crop_size) and its square in
        the image (B, 3). `parent` is the proposing scale's square in the image; None for the whole image."""
        height = self.crop_size if self.crop_size > 0 else x.shape[2]
        width = self.crop_size if self.crop_size > 0 else x.shape[3]
        crop = attended_crop(x, square, height, width, parents=parent, masked=self.masked)
        return crop, square if parent is None else nested_squares(parent, square)

    def classify(self, descriptors: list[Tensor]) -> list[Tensor]:
        """Every scale's descriptor (B, C) -> its own logits (B, num_classes)."""
        logits = [self.classifier(self.drop(descriptors[0]))]
        for index, classifier in enumerate(self.classifiers):
            logits.append(classifier(self.drop(descriptors[index + 1])))
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W), normalised -> logits (B, num_classes).

        In eval mode those of all scales together (see `joint`). In train mode the mean of these and of every scale's
        own, so that training on nothing but this output reaches every layer; the method's own training is in the task.
        """
        if self.num_classes == 0 or self.global_pool == '':
            return self.forward_head(self.forward_features(x))
        maps, _, _ = self.forward_scales(x)
        descriptors = [self.embed(features) for features in maps]
        if self.training:
            return torch.stack([self.fuse(descriptors)] + self.classify(descriptors)).mean(0)
        return self.combine(descriptors)

    @torch.jit.ignore
    def forward_parts(self, x: Tensor, learn_boxes: bool = True) -> RACNNOutput:
        """All scales of images (B, in_chans, H, W), with what the losses need. `learn_boxes` as in `forward_scales`."""
        maps, squares, regions = self.forward_scales(x, learn_boxes)
        descriptors = [self.embed(features) for features in maps]
        boxes = torch.stack([square_boxes(region) for region in regions], 1)
        fusion = self.fuse([descriptor.detach() for descriptor in descriptors])
        return RACNNOutput(self.classify(descriptors), fusion, maps, squares, boxes)

    @torch.jit.ignore
    def forward_passes(self, x: Tensor) -> Passes:
        """Each scale ('scale1', ...), means of the first ones ('scale1+2', ...), and 'fusion'; the box of scale 2."""
        output = self.forward_parts(x)
        parts = {f'scale{index + 1}': logits for index, logits in enumerate(output.logits)}
        for count in range(2, self.num_scales + 1):
            parts['scale' + '+'.join(str(index + 1) for index in range(count))] = mean_prediction(output.logits[:count])
        combined = list(parts.values())[-1] if self.joint == 'mean' else output.fusion
        return Passes(combined, {**parts, 'fusion': output.fusion}, output.boxes[:, 0])

    @torch.jit.ignore
    @torch.no_grad()
    def forward_explained(self, x: Tensor) -> tuple[Tensor, Explanation]:
        """Logits; where the scales respond together and each alone (mean magnitude over channels), in the image; the finer scales' boxes;
        the predictions of each scale alone. The map of all scales is the mean of theirs, each relative to its maximum."""
        maps, _, regions = self.forward_scales(x)
        descriptors = [self.embed(features) for features in maps]
        height, width = 4 * maps[0].shape[2], 4 * maps[0].shape[3]  # finer than the map: regions are parts of it
        whole = torch.full_like(regions[0], 0.5)
        responses = torch.stack([paste_maps(response_map(features), region, height, width)
                                 for features, region in zip(maps, [whole, *regions], strict=True)], 1)
        together = (responses / responses.amax((2, 3), keepdim=True).clamp(min=1e-12)).mean(1, keepdim=True)
        boxes = torch.stack([square_boxes(region) for region in regions], 1).float()
        names = [f'scale {index + 1}' for index in range(self.num_scales)]
        looks = dict(zip(names, self.classify(descriptors), strict=True))
        explanation = Explanation(torch.cat([together, responses], 1), boxes, ['all scales', *names], names[1:], looks)
        return self.combine(descriptors), explanation

    @torch.jit.ignore
    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace all classifiers."""
        super().reset_classifier(num_classes, global_pool)
        self._add_classifiers()

    @torch.jit.ignore
    def cfg_entries(self) -> dict[str, Any]:
        """Names of all classifiers and first convolutions, which depend on `num_scales`."""
        return dict(classifier=_classifiers(self.num_scales), first_conv=self._traits['first_conv'])

    def _remove_head(self) -> None:
        self.backbones = nn.ModuleList()
        self.proposals = nn.ModuleList()
        super()._remove_head()


def _classifiers(num_scales: int) -> tuple[str, ...]:
    """Names of the classifiers in the model."""
    return ('classifier', *(f'classifiers.{index}' for index in range(num_scales - 1)), 'fusion')


register_method(
    RACNN,
    Paper('Look Closer to See Better: Recurrent Attention Convolutional Neural Network', '',
          'RA-CNN classifies an image at three scales; small networks propose the region of the next scale.',
          'Fu, Zheng, Mei: Look Closer to See Better: Recurrent Attention Convolutional Neural Network for Fine-Grained Image '
          'Recognition. CVPR 2017'),
    {
        # `proposal_channels=0` gives its proposal networks all channels, which is 103 million weights each
        'vgg19': Variant(
            "The paper's VGG-19: 448 px for scale 1, 224 px for the finer ones; maps of 28x28 and 14x14 cells.",
            args=dict(stage=-2, crop_size=224, proposal_grid=14, proposal_width=1024),
            cfg=dict(input_size=448, pool_size=(28, 28))),
        'resnet50': Variant(
            'ResNet-50: 448 px for scale 1, 224 px for the finer ones.', dict(crop_size=224), dict(input_size=448)),
        'tf_efficientnet_lite0': Variant(
            'EfficientNet-Lite0: small and fast; three networks and their proposals take 25 MB in half precision.'),
        'convnext_tiny': Variant('ConvNeXt-Tiny: a modern CNN; its features are signed.'),
    },
    cfg=dict(classifier=_classifiers(3)))
